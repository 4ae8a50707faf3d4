//! The batch group's own rules. Follows `pkg/apis/batch/validation`.

use api::rules::Fact::{MaxBytes, Parsed};
use api::rules::Step::{Code, Field, Only};
use api::rules::{NOT_NEGATIVE, Row, of};
use machinery::names;

pub mod cronjob;
mod indexes;
pub mod job;
mod policies;
mod status;

#[cfg(test)]
mod tests;

/// Jobs, also as the templates of CronJobs, whose selectors are not made yet.
pub(super) const ROWS: &[Row] = &[
    of(
        "batch.v1",
        "Job",
        &[Only, Code(job::generated_selector), Field("spec", &[]), Code(job::selector), Code(job::indexed_name)],
    )
    .change(&[Only, Code(job::change)]),
    of("batch.v1", "JobTemplateSpec", &[Only, Field("spec", &[]), Code(job::no_selector)]),
    of(
        "batch.v1",
        "JobSpec",
        &[
            Field("parallelism", &[NOT_NEGATIVE]),
            Field("completions", &[NOT_NEGATIVE]),
            Field("activeDeadlineSeconds", &[NOT_NEGATIVE]),
            Field("backoffLimit", &[NOT_NEGATIVE]),
            Field("ttlSecondsAfterFinished", &[NOT_NEGATIVE]),
            Field("backoffLimitPerIndex", &[NOT_NEGATIVE]),
            Field("maxFailedIndexes", &[NOT_NEGATIVE]),
            Code(job::limit_of_indexes),
            Field("managedBy", &[Parsed(names::domain_prefixed_path), MaxBytes(63)]),
            Code(job::completion_mode),
            Code(policies::failure),
            Code(policies::success),
            Code(job::replacement),
            Field("template", &[]),
            Code(job::restart_policy),
        ],
    ),
];
