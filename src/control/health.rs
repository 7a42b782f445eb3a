//! Whether the server is in order, and if not, why.
//!
//! Each thing that can be out of order is one function of `CHECKS`, which looks when it is asked:
//! nothing is remembered, so nothing can be forgotten to be taken back. A detail is for strangers
//! too: it names no host and no path. The log has those.

use super::Control;
use crate::store::disk::NoRoom;
use serde::Serialize;

/// Rows of history that wait for the catalog, from which on that is worth telling: the database
/// answers, but slower than the pushes talk.
const ROWS_WAITING: usize = 8_192;

/// Looks at one thing; `None`: it is in order.
type Check = fn(&Control) -> Option<Reason>;

/// All that can be out of order. A new one goes here, and into the README's table.
const CHECKS: &[Check] = &[
    catalog_away,
    catalog_backlog,
    spool_filling,
    spool_full,
    disk_full,
    disk_unwritable,
];

/// How the server is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum State {
    /// It does not take anything yet.
    Starting,
    /// Everything is in order.
    Ready,
    /// It does its work, but not everything is in order.
    Degraded,
    /// It stops: no new publishes.
    Draining,
}

/// Something that is out of order.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Reason {
    /// What, for programs.
    pub name: &'static str,
    /// What, for people.
    pub detail: String,
}

/// How the server is, and why.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Readiness {
    /// How it is.
    pub state: State,
    /// What is out of order.
    pub reasons: Vec<Reason>,
}

impl State {
    /// Whether new publishers and viewers should be sent here. A degraded server does its work:
    /// to take it out of service would make less of little.
    pub const fn takes_more(self) -> bool {
        matches!(self, Self::Ready | Self::Degraded)
    }
}

impl Readiness {
    /// Before there is anything that could be asked.
    pub const fn starting() -> Self {
        Self {
            state: State::Starting,
            reasons: Vec::new(),
        }
    }
}

impl Control {
    /// Whether everything is in order.
    pub fn readiness(&self) -> Readiness {
        let reasons: Vec<_> = CHECKS.iter().filter_map(|check| check(self)).collect();
        let state = match () {
            () if self.registry().is_stopping() => State::Draining,
            () if reasons.is_empty() => State::Ready,
            () => State::Degraded,
        };
        Readiness { state, reasons }
    }
}

fn reason(name: &'static str, detail: impl Into<String>) -> Option<Reason> {
    let detail = detail.into();
    Some(Reason { name, detail })
}

fn catalog_away(control: &Control) -> Option<Reason> {
    control.catalog_health().away?;
    reason(
        "catalog_away",
        "the catalog does not answer; pushes and viewers go on, history waits",
    )
}

fn catalog_backlog(control: &Control) -> Option<Reason> {
    let rows = control.catalog_health().waiting;
    if rows < ROWS_WAITING {
        return None;
    }
    reason(
        "catalog_backlog",
        format!("{rows} rows of history wait for the catalog"),
    )
}

fn spool_filling(control: &Control) -> Option<Reason> {
    let spool = control.disk().spool()?;
    let percent = spool.is_filling().filter(|_| !spool.refuses())?;
    reason(
        "spool_filling",
        format!("{percent}% of the room for what the store has not confirmed is used"),
    )
}

fn spool_full(control: &Control) -> Option<Reason> {
    control.disk().spool().filter(|spool| spool.refuses())?;
    reason(
        "spool_full",
        "the room for what the store has not confirmed is nearly used up; new publishes are refused",
    )
}

fn disk_full(control: &Control) -> Option<Reason> {
    match control.disk().lacks_room()? {
        NoRoom::Low { .. } => reason(
            "disk_full",
            "the disk is nearly full; new publishes are refused, and what has no room becomes gaps",
        ),
        NoRoom::Unwritable => None,
    }
}

fn disk_unwritable(control: &Control) -> Option<Reason> {
    match control.disk().lacks_room()? {
        NoRoom::Unwritable => reason(
            "disk_unwritable",
            "the disk cannot be written; new publishes are refused, and running ones become gaps",
        ),
        NoRoom::Low { .. } => None,
    }
}
