//! Edits of orders, in the bytes of snapshots: field 22 of `docket.journal.v1.Order`.

use docket_engine::{Edit, EditEnd};

use super::life::{put_stamp, stamp};
use crate::{
    parts::{self, Intern, required},
    refusal,
    wire::{self, DecodeError, Field, fields},
};

pub(super) fn put(out: &mut Vec<u8>, edit: &Edit) {
    wire::nested(out, 22, |out| {
        for of_line in &edit.before {
            parts::put_line_quantity(out, 1, of_line);
        }
        for of_line in &edit.after {
            parts::put_line_quantity(out, 2, of_line);
        }
        put_stamp(out, 3, &edit.begun);
        if let Some(end) = &edit.ended {
            put_stamp(out, 4, &end.at);
            if let Some(refused) = &end.refused {
                refusal::put(out, 5, refused);
            }
        }
    });
}

pub(super) fn edit(field: Field<'_>, ids: &dyn Intern) -> Result<Edit, DecodeError> {
    const MESSAGE: &str = "Edit";
    let (mut before, mut after, mut begun) = (Vec::new(), Vec::new(), None);
    let (mut ended, mut refused) = (None, None);
    for field in fields(MESSAGE, field.bytes()?) {
        let field = field?;
        match field.number {
            1 => before.push(parts::line_quantity(field)?),
            2 => after.push(parts::line_quantity(field)?),
            3 => begun = Some(stamp(field)?),
            4 => ended = Some(stamp(field)?),
            5 => refused = Some(Box::new(refusal::get(field, ids)?)),
            _ => return Err(field.unknown()),
        }
    }
    Ok(Edit {
        before: before.into(),
        after: after.into(),
        begun: required(MESSAGE, 3, begun)?,
        ended: ended.map(|at| EditEnd { at, refused }),
    })
}
