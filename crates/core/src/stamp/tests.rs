use jiff::tz::TimeZone;

use super::*;
