//! Records and tables from the outside: written to a folder and read back.

mod made;
mod record;
mod table;
