//! What else may stand in the packet filter of a server: tables as container engines and firewall managers make them.

/// Chains as dockerd makes them through iptables-nft: port 8080 of UDP is a container's port 80.
pub(crate) const DOCKER: &str = "\
table ip nat {
  chain DOCKER {
    iifname \"docker0\" counter return
    iifname != \"docker0\" udp dport 8080 counter dnat to 172.17.0.2:80
  }
  chain PREROUTING {
    type nat hook prerouting priority dstnat; policy accept;
    fib daddr type local counter jump DOCKER
  }
  chain OUTPUT {
    type nat hook output priority -100; policy accept;
    ip daddr != 127.0.0.0/8 fib daddr type local counter jump DOCKER
  }
  chain POSTROUTING {
    type nat hook postrouting priority srcnat; policy accept;
    oifname != \"docker0\" ip saddr 172.17.0.0/16 counter masquerade
  }
}
table ip filter {
  chain DOCKER {
    iifname != \"docker0\" oifname \"docker0\" ip daddr 172.17.0.2 udp dport 80 counter accept
  }
  chain DOCKER-ISOLATION-STAGE-2 {
    oifname \"docker0\" counter drop
    counter return
  }
  chain DOCKER-ISOLATION-STAGE-1 {
    iifname \"docker0\" oifname != \"docker0\" counter jump DOCKER-ISOLATION-STAGE-2
    counter return
  }
  chain DOCKER-USER {
    counter return
  }
  chain FORWARD {
    type filter hook forward priority filter; policy drop;
    counter jump DOCKER-USER
    counter jump DOCKER-ISOLATION-STAGE-1
    oifname \"docker0\" ct state related,established counter accept
    oifname \"docker0\" counter jump DOCKER
    iifname \"docker0\" oifname != \"docker0\" counter accept
  }
}
";

/// One table for all families, its chains a little later than usual, what is established let in first.
pub(crate) const FIREWALLD: &str = "\
table inet firewalld {
  chain mangle_PREROUTING {
    type filter hook prerouting priority mangle + 10; policy accept;
    jump mangle_PREROUTING_ZONES
  }
  chain mangle_PREROUTING_ZONES {
    return
  }
  chain nat_PREROUTING {
    type nat hook prerouting priority dstnat + 10; policy accept;
  }
  chain filter_PREROUTING {
    type filter hook prerouting priority filter + 10; policy accept;
    icmpv6 type { nd-neighbor-solicit, nd-router-advert } accept
  }
  chain filter_INPUT {
    type filter hook input priority filter + 10; policy accept;
    ct state { established, related } accept
    iifname \"lo\" accept
    ct state invalid drop
    jump filter_INPUT_ZONES
    reject with icmpx admin-prohibited
  }
  chain filter_INPUT_ZONES {
    iifname \"eth0\" goto filter_IN_public
  }
  chain filter_IN_public {
    udp dport { 2000, 8080 } accept
  }
  chain filter_FORWARD {
    type filter hook forward priority filter + 10; policy accept;
    ct state { established, related } accept
    ct status dnat accept
    iifname \"lo\" accept
    reject with icmpx admin-prohibited
  }
}
";

/// What a file of an administrator's may begin with, and hold besides.
pub(crate) const OTHER: &str = "\
flush ruleset
table inet filter {
  chain input {
    type filter hook input priority filter; policy accept;
    ct state established,related accept
    udp dport 2000 accept
  }
}
";
