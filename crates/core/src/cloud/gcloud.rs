//! The gcloud commands that mean a ban in a firewall rule.
