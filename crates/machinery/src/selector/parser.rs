//! The grammar of a label selector, with upstream's errors.

use super::label::{Operator, Requirement, check_key};
use super::lexer::{Token, scan};
use crate::field::Path;
use std::collections::BTreeSet;

const BINARY: &str = "in, notin, =, ==, !=, gt, lt";

struct Parser<'a> {
    tokens: Vec<(Token, String)>,
    at: usize,
    path: &'a Path,
}

/// Parses; requirements sorted by key.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Requirement>, String> {
    let mut parser = Parser { tokens: scan(text), at: 0, path };
    let mut requirements = parser.requirements()?;
    requirements.sort_by(|a, b| a.key.cmp(&b.key));
    Ok(requirements)
}

impl Parser<'_> {
    // `in` and `notin` are words like others where a value or a key is expected.
    fn look(&self, operator_expected: bool) -> (Token, &str) {
        let (token, text) = &self.tokens[self.at.min(self.tokens.len() - 1)];
        match token {
            Token::In | Token::NotIn if !operator_expected => (Token::Identifier, text),
            other => (*other, text),
        }
    }

    fn take(&mut self, operator_expected: bool) -> (Token, String) {
        let (token, text) = self.look(operator_expected);
        let out = (token, text.to_owned());
        self.at += 1;
        out
    }

    fn requirements(&mut self) -> Result<Vec<Requirement>, String> {
        let mut out = Vec::new();
        loop {
            let (token, text) = self.look(false);
            match token {
                Token::Identifier | Token::DoesNotExist => {
                    let requirement = self.requirement().map_err(|e| format!("unable to parse requirement: {e}"))?;
                    out.push(requirement);
                    match self.take(false) {
                        (Token::End, _) => return Ok(out),
                        (Token::Comma, _) => match self.look(false) {
                            (Token::Identifier | Token::DoesNotExist, _) => {}
                            (_, text) => return Err(format!("found '{text}', expected: identifier after ','")),
                        },
                        (_, text) => return Err(format!("found '{text}', expected: ',' or 'end of string'")),
                    }
                }
                Token::End => return Ok(out),
                _ => return Err(format!("found '{text}', expected: !, identifier, or 'end of string'")),
            }
        }
    }

    fn requirement(&mut self) -> Result<Requirement, String> {
        let (mut token, mut key) = self.take(false);
        let negated = token == Token::DoesNotExist;
        if negated {
            (token, key) = self.take(false);
        }
        if token != Token::Identifier {
            return Err(format!("found '{key}', expected: identifier"));
        }
        check_key(&key, self.path).map_err(|e| e.to_string())?;
        if negated {
            return Requirement::new(&key, Operator::DoesNotExist, Vec::new(), self.path);
        }
        if matches!(self.look(false).0, Token::End | Token::Comma) {
            return Requirement::new(&key, Operator::Exists, Vec::new(), self.path);
        }
        let operator = match self.take(true) {
            (Token::In, _) => Operator::In,
            (Token::Equals, _) => Operator::Equals,
            (Token::DoubleEquals, _) => Operator::DoubleEquals,
            (Token::GreaterThan, _) => Operator::GreaterThan,
            (Token::LessThan, _) => Operator::LessThan,
            (Token::NotIn, _) => Operator::NotIn,
            (Token::NotEquals, _) => Operator::NotEquals,
            (_, text) => return Err(format!("found '{text}', expected: {BINARY}")),
        };
        let values = match operator {
            Operator::In | Operator::NotIn => self.values()?,
            _ => self.exact_value()?,
        };
        Requirement::new(&key, operator, values.into_iter().collect(), self.path)
    }

    fn values(&mut self) -> Result<BTreeSet<String>, String> {
        match self.take(false) {
            (Token::OpenPar, _) => {}
            (_, text) => return Err(format!("found '{text}' expected: '('")),
        }
        let (token, text) = self.look(false);
        match token {
            Token::Identifier | Token::Comma => {
                let first = text.to_owned();
                let set = self.identifiers()?;
                match self.take(false) {
                    (Token::ClosedPar, _) => Ok(set),
                    _ => Err(format!("found '{first}', expected: ')'")),
                }
            }
            Token::ClosedPar => {
                self.take(false);
                Ok(BTreeSet::from([String::new()]))
            }
            _ => Err(format!("found '{text}', expected: ',', ')' or identifier")),
        }
    }

    fn identifiers(&mut self) -> Result<BTreeSet<String>, String> {
        let mut set = BTreeSet::new();
        loop {
            match self.take(false) {
                (Token::Identifier, text) => {
                    set.insert(text);
                    match self.look(false) {
                        (Token::Comma, _) => {}
                        (Token::ClosedPar, _) => return Ok(set),
                        (_, text) => return Err(format!("found '{text}', expected: ',' or ')'")),
                    }
                }
                (Token::Comma, _) => {
                    if set.is_empty() {
                        set.insert(String::new());
                    }
                    match self.look(false).0 {
                        Token::ClosedPar => {
                            set.insert(String::new());
                            return Ok(set);
                        }
                        Token::Comma => {
                            set.insert(String::new());
                        }
                        _ => {}
                    }
                }
                (_, text) => return Err(format!("found '{text}', expected: ',', or identifier")),
            }
        }
    }

    fn exact_value(&mut self) -> Result<BTreeSet<String>, String> {
        if matches!(self.look(false).0, Token::End | Token::Comma) {
            return Ok(BTreeSet::from([String::new()]));
        }
        match self.take(false) {
            (Token::Identifier, text) => Ok(BTreeSet::from([text])),
            (_, text) => Err(format!("found '{text}', expected: identifier")),
        }
    }
}
