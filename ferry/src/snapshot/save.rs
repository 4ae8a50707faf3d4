//! `ferry snapshot save`.

use anyhow::{Context, bail};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use snapshots::name;

use super::flags::{Cluster, Encrypted, Output, Place, size};
use super::take::{Wanted, take};

/// Takes a snapshot of the running cluster: every object at one revision, while it goes on working. It is read back and verified
/// before it gets its name.
#[derive(Debug, clap::Args)]
struct Save {
    #[command(flatten)]
    place: Place,
    #[command(flatten)]
    encrypted: Encrypted,
    #[command(flatten)]
    cluster: Cluster,
    #[command(flatten)]
    output: Output,
    /// The beginning of the file's name
    #[arg(long, default_value = name::MANUAL)]
    name: String,
    /// With the cluster's certificate authorities and the key of service account tokens, for a restore on other machines
    #[arg(long)]
    with_keys: bool,
    /// Keep the cluster's keys in a file that is not encrypted
    #[arg(long)]
    allow_plain_keys: bool,
    /// With the content of this machine's volumes of the class local
    #[arg(long)]
    with_volumes: bool,
}

pub async fn main(argv: &[String]) -> anyhow::Result<()> {
    let flags: Save = component::flags::parse("ferry snapshot save", argv, &[])?;
    if !name::is_label(&flags.name) {
        bail!("--name {:?} has other characters than lower-case letters, digits and dashes", flags.name);
    }
    let secret = flags.encrypted.secret()?;
    check_keys(flags.with_keys, secret.is_some(), flags.allow_plain_keys)?;
    let (json, data_dir) = (flags.output.json()?, &flags.place.data_dir);
    if flags.with_keys || flags.with_volumes {
        is_of_this_machine(&flags)?;
    }
    let taken = take(Wanted {
        client: flags.cluster.client(data_dir)?,
        data_dir: data_dir.clone(),
        target: flags.place.target()?,
        folder: flags.place.folder(),
        label: flags.name.clone(),
        secret,
        with_keys: flags.with_keys,
        with_volumes: flags.with_volumes,
    })
    .await?;
    let (header, totals) = (&taken.saved.header, taken.saved.totals);
    if json {
        let told = serde_json::json!({
            "name": taken.name, "place": taken.place, "bytes": taken.saved.bytes, "header": header, "totals": totals,
        });
        println!("{told:#}");
        return Ok(());
    }
    println!("{}", taken.place);
    println!(
        "{} keys at revision {}, {}; read back and verified",
        totals.objects,
        header.revision,
        size(taken.saved.bytes)
    );
    if !flags.with_keys {
        println!(
            "without the cluster's keys: restored on another machine it gets new ones, and everybody a new kubeconfig (--with-keys)"
        );
    }
    Ok(())
}

/// Whoever has the cluster's keys can make themselves its administrator, for as long as its authority lasts: that is worse than
/// all the Secrets in a snapshot, which can be changed.
pub fn check_keys(with_keys: bool, encrypted: bool, allowed: bool) -> anyhow::Result<()> {
    if with_keys && !encrypted && !allowed {
        bail!(
            "--with-keys makes whoever reads the file an administrator of the cluster: encrypt it with --key-file or \
             --passphrase-file (or say --allow-plain-keys)"
        );
    }
    Ok(())
}

/// Keys and volumes are taken from this machine's folder: the snapshot must be of the cluster that is in it.
fn is_of_this_machine(flags: &Save) -> anyhow::Result<()> {
    let data_dir = &flags.place.data_dir;
    let file = flags.cluster.file(data_dir)?;
    let authority = data_dir.join("pki/ca.crt");
    let authority = std::fs::read(&authority).with_context(|| authority.display().to_string())?;
    let kubeconfig = kube::config::Kubeconfig::read_from(&file).with_context(|| file.display().to_string())?;
    let known = kubeconfig.clusters.iter().filter_map(|named| named.cluster.as_ref()).any(|cluster| {
        let inline = cluster.certificate_authority_data.as_deref().and_then(|text| STANDARD.decode(text).ok());
        let from_file = || std::fs::read(cluster.certificate_authority.as_deref()?).ok();
        inline.or_else(from_file).is_some_and(|known| known == authority)
    });
    if !known {
        bail!(
            "{} is of another cluster than {}: its keys and volumes are not here",
            file.display(),
            data_dir.display()
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_clusters_keys_are_not_kept_in_clear_unless_that_is_said() {
        assert!(check_keys(true, false, false).unwrap_err().to_string().contains("encrypt it"));
        for (with_keys, encrypted, allowed) in [(true, true, false), (true, false, true), (false, false, false)] {
            check_keys(with_keys, encrypted, allowed).unwrap();
        }
    }
}
