//! What shell actions have set up, so that a later run knows it: one row for each action of each jail, written before
//! its first command and gone when it was stopped.

use portcullis_core::ledger::LayerId;
use rusqlite::{Connection, Transaction, params};

/// One action that stands, or may.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Trace {
    /// Whose
    pub(crate) layer: LayerId,
    /// The kernel's name of the boot it was started in
    pub(crate) boot: String,
    /// The kernel's name of the network namespace
    pub(crate) network: String,
    /// The families that were started, as JSON
    pub(crate) families: String,
    /// Whether the daemon ended with everything done that it had ordered
    pub(crate) clean: bool,
    /// The action's properties, as JSON: the commands that end it. Passwords may be in it.
    pub(crate) definition: String,
    /// After a clean end, whose bans it holds, as JSON
    pub(crate) told: String,
}

pub(super) fn keep(tx: &Transaction<'_>, traces: &[Trace]) -> rusqlite::Result<()> {
    let mut insert = tx.prepare_cached(
        "INSERT OR REPLACE INTO portcullis_actions(jail, action, boot_id, network, families, clean, definition, told)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?;
    for trace in traces {
        insert.execute(params![
            trace.layer.jail,
            trace.layer.action,
            trace.boot,
            trace.network,
            trace.families,
            trace.clean,
            trace.definition,
            trace.told
        ])?;
    }
    Ok(())
}

pub(super) fn forget(tx: &Transaction<'_>, layers: &[LayerId]) -> rusqlite::Result<()> {
    let mut delete = tx.prepare_cached("DELETE FROM portcullis_actions WHERE jail = ?1 AND action = ?2")?;
    for layer in layers {
        delete.execute(params![layer.jail, layer.action])?;
    }
    Ok(())
}

pub(super) fn load(db: &Connection) -> rusqlite::Result<Vec<Trace>> {
    let mut rows = db.prepare(
        "SELECT jail, action, boot_id, network, families, clean, definition, told FROM portcullis_actions
             ORDER BY jail, action",
    )?;
    let trace = |row: &rusqlite::Row<'_>| {
        Ok(Trace {
            layer: LayerId {
                jail: row.get::<_, String>(0)?.into(),
                action: row.get::<_, String>(1)?.into(),
            },
            boot: row.get(2)?,
            network: row.get(3)?,
            families: row.get(4)?,
            clean: row.get(5)?,
            definition: row.get(6)?,
            told: row.get(7)?,
        })
    };
    rows.query_map([], trace)?.collect()
}
