//! Records and tables from the outside: written to a folder and read back.

mod analysis;
mod analyze;
mod check;
mod compare;
mod fuzz;
mod made;
mod mixed;
mod record;
mod report;
mod table;
mod timing;
