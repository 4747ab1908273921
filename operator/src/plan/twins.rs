//! The same intent in both groups gives equal plans.
