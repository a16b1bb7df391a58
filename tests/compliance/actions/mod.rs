//! What shells are given: the stock's actions in whole lives of a jail, with the real server and the real daemon side by
//! side and `/bin/sh` recorded.

mod batches;
mod canary;
mod differences;
mod life;
mod stage;
mod stock;
