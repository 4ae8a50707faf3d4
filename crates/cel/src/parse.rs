//! From text to an expression. Depth and length are bounded; faults are told in cel-go's words where its parser's are
//! plain enough to follow.

use super::MAX_FAULTS;
use super::ast::{Expr, Field, Kind, Literal, Macro, Op};
use super::lex::{Fault, Tok, Token, tokens};

/// The longest text, in characters, as cel-go.
const MAX_LENGTH: usize = 100_000;
/// The deepest nesting, as cel-go.
const MAX_DEPTH: usize = 250;

const RESERVED: [&str; 21] = [
    "as",
    "break",
    "const",
    "continue",
    "else",
    "false",
    "for",
    "function",
    "if",
    "import",
    "in",
    "let",
    "loop",
    "namespace",
    "null",
    "package",
    "return",
    "true",
    "var",
    "void",
    "while",
];

struct Parser {
    tokens: Vec<Token>,
    next: usize,
    depth: usize,
    /// Brackets that are open.
    open: usize,
    /// Whether there is `cel.bind`.
    binds: bool,
}

/// Reads a whole expression; with `binds`, `cel.bind(x, value, body)` is a macro.
pub(super) fn parse(text: &str, binds: bool) -> Result<Expr, Vec<Fault>> {
    let length = text.chars().count();
    if length > MAX_LENGTH {
        let detail = format!("expression code point size exceeds limit: size: {length}, limit {MAX_LENGTH}");
        return Err(vec![(0, detail)]);
    }
    let (tokens, mut faults) = tokens(text);
    // No sense is looked for in what has so many faults; one more is counted for them all.
    if faults.len() > MAX_FAULTS {
        faults.truncate(MAX_FAULTS + 1);
        return Err(faults);
    }
    let mut parser = Parser { tokens, next: 0, depth: 0, open: 0, binds };
    let expr = parser.expr().and_then(|expr| match parser.peek() {
        Tok::End => Ok(expr),
        _ => Err(parser.unexpected("extraneous input", "<EOF>")),
    });
    match expr {
        Ok(expr) if faults.is_empty() => Ok(expr),
        Ok(_) => Err(faults),
        Err(fault) => {
            faults.push(fault);
            Err(faults)
        }
    }
}

impl Parser {
    fn peek(&self) -> &Tok {
        &self.tokens[self.next.min(self.tokens.len() - 1)].kind
    }

    fn at(&self) -> usize {
        self.tokens[self.next.min(self.tokens.len() - 1)].at
    }

    fn take(&mut self) -> Token {
        let token = self.tokens[self.next.min(self.tokens.len() - 1)].clone();
        self.next += 1;
        token
    }

    fn eat(&mut self, op: &str) -> bool {
        let there = matches!(self.peek(), Tok::Op(found) if *found == op);
        self.next += usize::from(there);
        there
    }

    fn want(&mut self, op: &str) -> Result<(), Fault> {
        if self.eat(op) {
            return Ok(());
        }
        // Where the text could end after it, it is what is missing.
        if *self.peek() == Tok::End && self.open == 1 {
            return Err((self.at(), format!("Syntax error: missing '{op}' at '<EOF>'")));
        }
        Err(self.unexpected("mismatched input", &format!("'{op}'")))
    }

    /// Eats the bracket that closes, or wants it.
    fn close(&mut self, op: &str) -> Result<(), Fault> {
        self.want(op)?;
        self.open -= 1;
        Ok(())
    }

    fn unexpected(&self, how: &str, wanted: &str) -> Fault {
        let shown = match self.peek() {
            Tok::End => "<EOF>".to_owned(),
            Tok::Op(op) => (*op).to_owned(),
            Tok::Ident(text) | Tok::Int(text) | Tok::Float(text) => text.clone(),
            Tok::Uint(text) => format!("{text}u"),
            Tok::Text(text) => format!("\"{text}\""),
            Tok::Bytes(_) => "b\"\"".to_owned(),
        };
        let wanted = if wanted.is_empty() { String::new() } else { format!(" expecting {wanted}") };
        (self.at(), format!("Syntax error: {how} '{shown}'{wanted}"))
    }

    fn expr(&mut self) -> Result<Expr, Fault> {
        self.depth += 1;
        self.deeper(0)?;
        let condition = self.binary(0)?;
        let at = self.at();
        let out = if self.eat("?") {
            let yes = self.binary(0)?;
            self.want(":")?;
            let no = self.expr()?;
            call(at, "_?_:_", vec![condition, yes, no])
        } else {
            condition
        };
        self.depth -= 1;
        Ok(out)
    }

    /// The binary operator that comes next: its name, and how strongly it binds.
    fn operator(&self) -> Option<(&'static str, u8)> {
        let text = match self.peek() {
            Tok::Op(op) => *op,
            Tok::Ident(name) if name == "in" => "in",
            _ => return None,
        };
        Some(match text {
            "||" => ("_||_", 0),
            "&&" => ("_&&_", 1),
            "==" => ("_==_", 2),
            "!=" => ("_!=_", 2),
            "<" => ("_<_", 2),
            "<=" => ("_<=_", 2),
            ">" => ("_>_", 2),
            ">=" => ("_>=_", 2),
            "in" => ("@in", 2),
            "+" => ("_+_", 3),
            "-" => ("_-_", 3),
            "*" => ("_*_", 4),
            "/" => ("_/_", 4),
            "%" => ("_%_", 4),
            _ => return None,
        })
    }

    fn deeper(&self, by: usize) -> Result<(), Fault> {
        if self.depth + by <= MAX_DEPTH {
            return Ok(());
        }
        Err((self.at(), format!("expression recursion limit exceeded: {MAX_DEPTH}")))
    }

    fn binary(&mut self, least: u8) -> Result<Expr, Fault> {
        let mut left = self.unary()?;
        let mut chain = 0;
        while let Some((name, binds)) = self.operator().filter(|(_, binds)| *binds >= least) {
            if binds <= 1 {
                left = self.logical(left, name, binds)?;
                continue;
            }
            // A chain makes a tree that is deep on the left.
            chain += 1;
            self.deeper(chain)?;
            let at = self.take().at;
            let right = self.binary(binds + 1)?;
            left = call(at, name, vec![left, right]);
        }
        Ok(left)
    }

    // Long chains of `&&` or `||` become flat trees, as in cel-go.
    fn logical(&mut self, first: Expr, name: &'static str, binds: u8) -> Result<Expr, Fault> {
        let (mut terms, mut places) = (vec![first], Vec::new());
        while self.operator().is_some_and(|(next, _)| next == name) {
            places.push(self.take().at);
            terms.push(self.binary(binds + 1)?);
        }
        Ok(balanced(name, terms, &places))
    }

    fn unary(&mut self) -> Result<Expr, Fault> {
        let at = self.at();
        for (written, name) in [("!", "!_"), ("-", "-_")] {
            let mut count = 0;
            while self.eat(written) {
                count += 1;
            }
            if count == 0 {
                continue;
            }
            if written == "-"
                && let Some(expr) = self.negative(at, count)?
            {
                return Ok(expr);
            }
            let inner = self.member()?;
            return Ok(if count % 2 == 1 { call(at, name, vec![inner]) } else { inner });
        }
        self.member()
    }

    // `-1` is one literal: the smallest integer has no positive twin.
    fn negative(&mut self, at: usize, count: usize) -> Result<Option<Expr>, Fault> {
        if count != 1 {
            return Ok(None);
        }
        let kind = match self.peek().clone() {
            Tok::Int(text) => Literal::Int(integer(&format!("-{text}")).ok_or((at, "invalid int literal".to_owned()))?),
            Tok::Float(text) => Literal::Double(-text.parse::<f64>().unwrap_or(f64::NAN)),
            _ => return Ok(None),
        };
        self.next += 1;
        self.members(Expr { at, kind: Kind::Literal(kind) }).map(Some)
    }

    fn member(&mut self) -> Result<Expr, Fault> {
        let first = self.primary()?;
        self.members(first)
    }

    fn members(&mut self, mut expr: Expr) -> Result<Expr, Fault> {
        let mut chain = 0;
        loop {
            chain += 1;
            self.deeper(chain)?;
            let at = self.at();
            if self.eat(".") {
                let optional = self.eat("?");
                let Tok::Ident(name) = self.peek().clone() else {
                    return Err(self.unexpected("no viable alternative at input", ""));
                };
                self.next += 1;
                let paren = self.at();
                if !optional && self.eat("(") {
                    let args = self.arguments(")")?;
                    let bind = self.binds && name == "bind" && args.len() == 3;
                    expr = if bind && matches!(&expr.kind, Kind::Ident(target) if target == "cel") {
                        bound(paren, args)?
                    } else {
                        member_call(paren, name, expr, args)?
                    };
                } else {
                    expr = Expr { at, kind: Kind::Select(Box::new(expr), name, optional) };
                }
            } else if matches!(self.peek(), Tok::Op("{")) && qualified_name(&expr).is_some() {
                expr = self.object(&expr)?;
            } else if self.eat("[") {
                self.open += 1;
                let optional = self.eat("?");
                let index = self.expr()?;
                self.close("]")?;
                expr = call(at, if optional { "_[?_]" } else { "_[_]" }, vec![expr, index]);
            } else {
                return Ok(expr);
            }
        }
    }

    fn arguments(&mut self, end: &str) -> Result<Vec<Expr>, Fault> {
        let mut out = Vec::new();
        self.open += 1;
        while !self.is_next(end) {
            out.push(self.expr()?);
            if !self.eat(",") {
                break;
            }
            self.element_or(end)?;
        }
        self.close(end)?;
        Ok(out)
    }

    fn is_next(&self, op: &str) -> bool {
        matches!(self.peek(), Tok::Op(found) if *found == op)
    }

    /// After a comma: at the end of the text only the bracket can be missed.
    fn element_or(&mut self, end: &str) -> Result<(), Fault> {
        if *self.peek() == Tok::End { self.want(end) } else { Ok(()) }
    }

    /// `Type{field: value}`; the name was read.
    fn object(&mut self, name: &Expr) -> Result<Expr, Fault> {
        let at = self.at();
        let name = qualified_name(name).unwrap_or_default();
        self.want("{")?;
        self.open += 1;
        let mut fields = Vec::new();
        while !self.is_next("}") {
            let optional = self.eat("?");
            let Tok::Ident(field) = self.peek().clone() else {
                return Err(self.unexpected("mismatched input", "{'}', ',', '?', IDENTIFIER, ESC_IDENTIFIER}"));
            };
            self.next += 1;
            let at = self.at();
            self.want(":")?;
            fields.push(Field { at, name: field, value: self.expr()?, optional });
            if !self.eat(",") {
                break;
            }
            self.element_or("}")?;
        }
        self.close("}")?;
        Ok(Expr { at, kind: Kind::Struct(name, fields) })
    }

    fn primary(&mut self) -> Result<Expr, Fault> {
        let Token { at, kind } = self.take();
        let literal = |literal| Ok(Expr { at, kind: Kind::Literal(literal) });
        let bad = |what: &str| (at, format!("invalid {what} literal"));
        match kind {
            Tok::Int(text) => literal(Literal::Int(integer(&text).ok_or_else(|| bad("int"))?)),
            Tok::Uint(text) => literal(Literal::Uint(unsigned(&text).ok_or_else(|| bad("uint"))?)),
            Tok::Float(text) => literal(Literal::Double(text.parse().map_err(|_| bad("double"))?)),
            Tok::Text(text) => literal(Literal::String(text)),
            Tok::Bytes(bytes) => literal(Literal::Bytes(bytes)),
            Tok::Ident(name) => match name.as_str() {
                "true" => literal(Literal::Bool(true)),
                "false" => literal(Literal::Bool(false)),
                "null" => literal(Literal::Null),
                _ => self.named(at, name),
            },
            Tok::Op("(") => {
                self.open += 1;
                let inner = self.expr()?;
                self.close(")")?;
                Ok(inner)
            }
            Tok::Op("[") => self.list(at),
            Tok::Op("{") => self.map(at),
            _ => {
                self.next -= 1;
                let wanted = "{'[', '{', '(', '.', '-', '!', 'true', 'false', 'null', NUM_FLOAT, NUM_INT, NUM_UINT, STRING, BYTES, IDENTIFIER}";
                Err(self.unexpected("mismatched input", wanted))
            }
        }
    }

    fn named(&mut self, at: usize, name: String) -> Result<Expr, Fault> {
        if RESERVED.contains(&name.as_str()) {
            return Err((at, format!("reserved identifier: {name}")));
        }
        let paren = self.at();
        if !self.eat("(") {
            return Ok(Expr { at, kind: Kind::Ident(name) });
        }
        let args = self.arguments(")")?;
        if name == "has" && args.len() == 1 {
            return match args.into_iter().next().map(|arg| arg.kind) {
                Some(Kind::Select(operand, field, false)) => Ok(Expr { at: paren, kind: Kind::Has(operand, field) }),
                _ => Err((paren, "invalid argument to has() macro".to_owned())),
            };
        }
        Ok(Expr { at: paren, kind: Kind::Call(name, None, args) })
    }

    fn list(&mut self, at: usize) -> Result<Expr, Fault> {
        let mut out = Vec::new();
        self.open += 1;
        while !self.is_next("]") {
            let optional = self.eat("?");
            out.push((self.expr()?, optional));
            if !self.eat(",") {
                break;
            }
            self.element_or("]")?;
        }
        self.close("]")?;
        Ok(Expr { at, kind: Kind::List(out) })
    }

    fn map(&mut self, at: usize) -> Result<Expr, Fault> {
        let mut out = Vec::new();
        self.open += 1;
        while !self.is_next("}") {
            let optional = self.eat("?");
            let key = self.expr()?;
            self.want(":")?;
            out.push((key, self.expr()?, optional));
            if !self.eat(",") {
                break;
            }
            self.element_or("}")?;
        }
        self.close("}")?;
        Ok(Expr { at, kind: Kind::Map(out) })
    }
}

/// `a.b.c`, where it is no more than names.
fn qualified_name(expr: &Expr) -> Option<String> {
    match &expr.kind {
        Kind::Ident(name) => Some(name.clone()),
        Kind::Select(operand, field, false) => Some(format!("{}.{field}", qualified_name(operand)?)),
        _ => None,
    }
}

fn balanced(name: &str, mut terms: Vec<Expr>, places: &[usize]) -> Expr {
    if terms.len() <= 1 {
        return terms.pop().expect("a chain has a first term");
    }
    let middle = terms.len() / 2;
    let right = terms.split_off(middle);
    let (before, after) = places.split_at(middle - 1);
    let left = balanced(name, terms, before);
    call(after[0], name, vec![left, balanced(name, right, &after[1..])])
}

fn call(at: usize, name: &str, args: Vec<Expr>) -> Expr {
    Expr { at, kind: Kind::Call(name.to_owned(), None, args) }
}

fn integer(text: &str) -> Option<i64> {
    let (sign, digits) = text.strip_prefix('-').map_or(("", text), |digits| ("-", digits));
    match digits.strip_prefix("0x").or_else(|| digits.strip_prefix("0X")) {
        Some(hex) => i64::from_str_radix(&format!("{sign}{hex}"), 16).ok(),
        None => text.parse().ok(),
    }
}

fn unsigned(text: &str) -> Option<u64> {
    match text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        Some(hex) => u64::from_str_radix(hex, 16).ok(),
        None => text.parse().ok(),
    }
}

fn bound(at: usize, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    let (body, value, name) = (args.pop(), args.pop(), args.pop());
    match (name, value, body) {
        (Some(Expr { kind: Kind::Ident(var), .. }), Some(value), Some(body)) => {
            let (range, body) = (Box::new(value), Box::new(body));
            Ok(Expr { at, kind: Kind::Macro(Macro { op: Op::Bind, range, var, var2: None, filter: None, body }) })
        }
        (name, ..) => {
            let at = name.map_or(at, |name| name.at);
            Err((at, "cel.bind() variable names must be simple identifiers".to_owned()))
        }
    }
}

fn member_call(at: usize, name: String, target: Expr, mut args: Vec<Expr>) -> Result<Expr, Fault> {
    let op = match (name.as_str(), args.len()) {
        ("all", 2 | 3) => Op::All,
        ("exists", 2 | 3) => Op::Exists,
        ("exists_one" | "existsOne", 2 | 3) => Op::ExistsOne,
        ("map", 2 | 3) | ("transformList", 3 | 4) => Op::Map,
        ("filter", 2) => Op::Filter,
        ("transformMap", 3 | 4) => Op::TransformMap,
        ("transformMapEntry", 3 | 4) => Op::TransformMapEntry,
        ("optMap", 2) => Op::OptMap,
        ("optFlatMap", 2) => Op::OptFlatMap,
        _ => return Ok(Expr { at, kind: Kind::Call(name, Some(Box::new(target)), args) }),
    };
    // One variable, or two; then a filter where there is one more argument than needed.
    let two = match name.as_str() {
        "all" | "exists" | "exists_one" | "existsOne" => args.len() == 3,
        "map" | "filter" | "optMap" | "optFlatMap" => false,
        _ => true,
    };
    let body = args.pop().expect("arguments were counted");
    let variables = if two { 2 } else { 1 };
    let filter = (args.len() > variables).then(|| Box::new(args.pop().expect("arguments were counted")));
    let mut names = Vec::new();
    for arg in args {
        match arg.kind {
            Kind::Ident(name) => names.push(name),
            _ => return Err((arg.at, "argument must be a simple name".to_owned())),
        }
    }
    let var2 = if two { names.pop() } else { None };
    let var = names.pop().unwrap_or_default();
    Ok(Expr { at, kind: Kind::Macro(Macro { op, range: Box::new(target), var, var2, filter, body: Box::new(body) }) })
}
