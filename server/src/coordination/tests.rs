//! Three voters in one process, each with its own file, over lines that can be cut.

mod answer;
mod conformance;
mod fault;
mod founding;
mod member;
mod message;
mod net;
mod start;
