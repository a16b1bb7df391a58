//! x
#[cfg_attr(
    not(test),
    expect(dead_code, reason = "the `stock` verb and the configuration reader call it")
)]
mod stock;

fn main() {}
