//! Many wishes at once: every one compiled, or all that stand in the way named.

use std::collections::HashMap;

use super::{Commands, Unavailable};
use crate::{
    database::CompiledRow,
    subscriptions::{CompileError, SubscriptionSpec},
};

/// A row that cannot be used, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowError {
    /// Its name, or what stands for it.
    pub name: String,
    /// Why, for a person.
    pub why: String,
}

/// The trees of every wish. Equal texts are asked about once.
pub async fn compile_all(
    commands: &dyn Commands,
    wishes: Vec<SubscriptionSpec>,
) -> Result<Result<Vec<(SubscriptionSpec, CompiledRow)>, Vec<RowError>>, Unavailable> {
    let build = commands.build().await?;
    let mut known: HashMap<(String, String), CompiledRow> = HashMap::new();
    let mut compiled = Vec::with_capacity(wishes.len());
    let mut offenders = Vec::new();
    for wish in wishes {
        let key = (wish.filter.clone(), wish.us.clone());
        let row = match known.get(&key) {
            Some(row) => row.clone(),
            None => match commands.compile(&wish, &build).await {
                Ok(row) => {
                    known.insert(key, row.clone());
                    row
                }
                Err((_, CompileError::Unavailable(reason))) => return Err(Unavailable(reason)),
                Err((field, error)) => {
                    offenders.push(RowError {
                        name: wish.name,
                        why: format!("{field}: {error}"),
                    });
                    continue;
                }
            },
        };
        compiled.push((wish, row));
    }
    Ok(if offenders.is_empty() {
        Ok(compiled)
    } else {
        Err(offenders)
    })
}
