//! Placeholder.
use super::plan::Plan;
/// x
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommandError(pub String);
impl Plan {}
