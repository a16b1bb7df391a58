//! Where our commands do otherwise on purpose: what Fail2Ban answers, and what we do.
