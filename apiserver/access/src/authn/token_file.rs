//! `--token-auth-file`: tokens with their users, fixed at start. A line is `token,user,uid[,"group1,group2"]`.

use std::collections::HashMap;

use async_trait::async_trait;
use jiff::Timestamp;
use model::user::UserInfo;

use super::bearer::{Bearer, Presented, Token};

/// See the module.
pub struct TokenFile {
    users: HashMap<String, UserInfo>,
}

impl TokenFile {
    /// From the file's text.
    pub fn new(csv: &str) -> Result<Self, String> {
        let mut users = HashMap::new();
        for line in csv.lines().filter(|line| !line.trim().is_empty()) {
            let record = split(line)?;
            let [token, name, uid, rest @ ..] = record.as_slice() else {
                return Err(format!(
                    "token file must have at least 3 columns (token, user name, user uid), found {}",
                    record.len()
                ));
            };
            if token.is_empty() {
                continue;
            }
            let groups = rest.first().map(|g| g.split(',').map(str::to_owned).collect()).unwrap_or_default();
            users.insert(
                token.clone(),
                UserInfo { name: name.clone(), uid: uid.clone(), groups, ..UserInfo::default() },
            );
        }
        Ok(Self { users })
    }
}

/// One line of comma-separated values, RFC 4180's quotes included.
fn split(line: &str) -> Result<Vec<String>, String> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '"' if quoted && chars.peek() == Some(&'"') => field.extend(chars.next()),
            '"' => quoted = !quoted,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
    }
    if quoted {
        return Err("extraneous or missing \" in quoted-field".into());
    }
    fields.push(field);
    Ok(fields)
}

#[async_trait]
impl Token for TokenFile {
    async fn authenticate_token(
        &self,
        token: &Presented<'_>,
        _: &[String],
        _: Timestamp,
    ) -> Result<Option<Bearer>, String> {
        Ok(self.users.get(token.text).map(|user| Bearer { user: user.clone(), audiences: Vec::new() }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_line_is_a_user() {
        let file = TokenFile::new("t1,jane,1,\"a,b\"\nt2,joe,2\n,x,3\n").unwrap();
        let ask = async |token: &str| {
            file.authenticate_token(&Presented::new(token), &[], Timestamp::UNIX_EPOCH).await.unwrap()
        };
        assert_eq!(ask("t1").await.unwrap().user.groups, ["a", "b"]);
        assert_eq!(ask("t2").await.unwrap().user.uid, "2");
        assert_eq!(ask("").await, None);
        assert!(TokenFile::new("t1,jane").is_err());
        assert!(TokenFile::new("t1,\"jane,1").is_err());
    }
}
