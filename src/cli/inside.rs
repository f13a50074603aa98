//! `outrigger inside`: the helper that `run --capture` starts, and the process that becomes the command.
//!
//! In: arguments that only `run --capture` gives. Out: the exit code of the command.

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;

use crate::capture::laptop::{CommandLine, helper};

/// What the two have to know.
#[derive(Debug, clap::Args)]
pub(super) struct Arguments {
    /// In a network namespace of our own: the program that loads rules.
    #[arg(long, value_name = "FILE")]
    nft: Option<PathBuf>,
    /// Become the command, as a child of this process.
    #[arg(long, value_name = "PID")]
    child_of: Option<u32>,
    /// The command's limit of open files.
    #[arg(long, value_name = "COUNT")]
    descriptors: Option<u64>,
    /// The command.
    #[arg(last = true, required = true)]
    command: Vec<OsString>,
}

/// Holds the command, or becomes it.
pub(super) fn inside(arguments: Arguments) -> ExitCode {
    let Arguments { nft, child_of, descriptors, command } = arguments;
    let command = CommandLine { words: command, descriptors };
    match child_of {
        Some(parent) => helper::become_command(&command, parent, nft.is_some()),
        None => helper::serve(command, nft),
    }
}
