//! The state machine against a simulated API.

mod api;
mod burst;
mod chaos;
mod clash;
mod lost;
mod scenes;
mod stage;
mod troubles;
