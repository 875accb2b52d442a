//! From text to a tree.

use super::MathError;

/// Longest expression (`MetricExpression`: 2,048 characters).
const LENGTH_MAX: usize = 2048;
/// Deepest nesting: bounds the recursion here and in the evaluation.
const DEPTH_MAX: u32 = 40;

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Expr {
    Number(f64),
    /// A string argument, as in `METRICS("cpu")`.
    Text(String),
    /// A query's id, or a bare word such as `REPEAT`.
    Name(String),
    Call(String, Vec<Expr>),
    List(Vec<Expr>),
    Negate(Box<Expr>),
    Binary(Op, Box<Expr>, Box<Expr>),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Op {
    Add,
    Sub,
    Mul,
    Div,
    Pow,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    And,
    Or,
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    Number(f64),
    Text(String),
    Name(String),
    Op(Op),
    Open,
    Close,
    OpenList,
    CloseList,
    Comma,
}

pub(super) fn parse(text: &str) -> Result<Expr, MathError> {
    if text.len() > LENGTH_MAX {
        return Err(MathError::new("The expression is longer than 2048 characters"));
    }
    let whole = expression(text);
    let first = text.split_whitespace().next().unwrap_or_default();
    match whole {
        // No expression has this form, though one may begin with an id of this name.
        Err(_) if first.eq_ignore_ascii_case("SELECT") => {
            Err(MathError::new("Metrics Insights queries (SELECT ...) are not supported by Puffer"))
        }
        whole => whole,
    }
}

fn expression(text: &str) -> Result<Expr, MathError> {
    let mut parser = Parser { tokens: tokens(text)?, at: 0, depth: 0 };
    let expr = parser.binary(0)?;
    match parser.peek() {
        None => Ok(expr),
        Some(_) => Err(syntax()),
    }
}

fn syntax() -> MathError {
    MathError::new("The expression has a syntax error")
}

fn tokens(text: &str) -> Result<Vec<Token>, MathError> {
    let mut tokens = Vec::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            c if c.is_whitespace() => c.len_utf8(),
            '0'..='9' | '.' => {
                let length = number_length(rest);
                tokens.push(Token::Number(rest[..length].parse().map_err(|_| syntax())?));
                length
            }
            'a'..='z' | 'A'..='Z' | '_' => {
                let length =
                    rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
                tokens.push(match &rest[..length] {
                    "AND" => Token::Op(Op::And),
                    "OR" => Token::Op(Op::Or),
                    name => Token::Name(name.to_owned()),
                });
                length
            }
            '"' | '\'' => {
                let end = rest[1..].find(c).ok_or_else(syntax)?;
                tokens.push(Token::Text(rest[1..=end].to_owned()));
                end + 2
            }
            _ => {
                let two = rest.get(..2).unwrap_or("");
                let (token, length) = match (two, c) {
                    ("==", _) => (Token::Op(Op::Eq), 2),
                    ("!=", _) => (Token::Op(Op::Ne), 2),
                    ("<=", _) => (Token::Op(Op::Le), 2),
                    (">=", _) => (Token::Op(Op::Ge), 2),
                    ("&&", _) => (Token::Op(Op::And), 2),
                    ("||", _) => (Token::Op(Op::Or), 2),
                    (_, '<') => (Token::Op(Op::Lt), 1),
                    (_, '>') => (Token::Op(Op::Gt), 1),
                    (_, '+') => (Token::Op(Op::Add), 1),
                    (_, '-') => (Token::Op(Op::Sub), 1),
                    (_, '*') => (Token::Op(Op::Mul), 1),
                    (_, '/') => (Token::Op(Op::Div), 1),
                    (_, '^') => (Token::Op(Op::Pow), 1),
                    (_, '(') => (Token::Open, 1),
                    (_, ')') => (Token::Close, 1),
                    (_, '[') => (Token::OpenList, 1),
                    (_, ']') => (Token::CloseList, 1),
                    (_, ',') => (Token::Comma, 1),
                    _ => return Err(syntax()),
                };
                tokens.push(token);
                length
            }
        };
        rest = &rest[length..];
    }
    Ok(tokens)
}

/// Digits, a point, and an exponent if digits follow it.
fn number_length(text: &str) -> usize {
    let digits = |t: &str| t.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(t.len());
    let length = digits(text);
    let Some(exponent) = text[length..].strip_prefix(['e', 'E']) else { return length };
    let unsigned = exponent.strip_prefix(['+', '-']).unwrap_or(exponent);
    let n = unsigned.find(|c: char| !c.is_ascii_digit()).unwrap_or(unsigned.len());
    if n == 0 { length } else { length + 1 + (exponent.len() - unsigned.len()) + n }
}

struct Parser {
    tokens: Vec<Token>,
    at: usize,
    depth: u32,
}

/// Operators by rising precedence.
const LEVELS: [&[Op]; 5] = [
    &[Op::Or],
    &[Op::And],
    &[Op::Eq, Op::Ne, Op::Lt, Op::Le, Op::Gt, Op::Ge],
    &[Op::Add, Op::Sub],
    &[Op::Mul, Op::Div],
];

impl Parser {
    fn peek(&self) -> Option<&Token> {
        self.tokens.get(self.at)
    }

    fn take(&mut self, token: &Token) -> bool {
        let found = self.peek() == Some(token);
        if found {
            self.at += 1;
        }
        found
    }

    fn expect(&mut self, token: &Token) -> Result<(), MathError> {
        if self.take(token) { Ok(()) } else { Err(syntax()) }
    }

    fn binary(&mut self, level: usize) -> Result<Expr, MathError> {
        let Some(ops) = LEVELS.get(level) else { return self.unary() };
        let mut left = self.binary(level + 1)?;
        while let Some(&Token::Op(op)) = self.peek() {
            if !ops.contains(&op) {
                break;
            }
            self.at += 1;
            let right = self.binary(level + 1)?;
            left = Expr::Binary(op, Box::new(left), Box::new(right));
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Expr, MathError> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(MathError::new("The expression is nested too deeply"));
        }
        let expr = if self.take(&Token::Op(Op::Sub)) {
            Expr::Negate(Box::new(self.unary()?))
        } else {
            let base = self.primary()?;
            if self.take(&Token::Op(Op::Pow)) {
                // To the right: 2 ^ 3 ^ 2 = 2 ^ 9.
                Expr::Binary(Op::Pow, Box::new(base), Box::new(self.unary()?))
            } else {
                base
            }
        };
        self.depth -= 1;
        Ok(expr)
    }

    fn primary(&mut self) -> Result<Expr, MathError> {
        let token = self.peek().cloned().ok_or_else(syntax)?;
        self.at += 1;
        match token {
            Token::Number(n) => Ok(Expr::Number(n)),
            Token::Text(t) => Ok(Expr::Text(t)),
            Token::Name(name) if self.take(&Token::Open) => Ok(Expr::Call(name, self.until(&Token::Close)?)),
            Token::Name(name) => Ok(Expr::Name(name)),
            Token::Open => {
                let inner = self.binary(0)?;
                self.expect(&Token::Close)?;
                Ok(inner)
            }
            Token::OpenList => Ok(Expr::List(self.until(&Token::CloseList)?)),
            Token::Op(_) | Token::Close | Token::CloseList | Token::Comma => Err(syntax()),
        }
    }

    fn until(&mut self, end: &Token) -> Result<Vec<Expr>, MathError> {
        let mut list = Vec::new();
        if self.take(end) {
            return Ok(list);
        }
        loop {
            list.push(self.binary(0)?);
            if self.take(end) {
                return Ok(list);
            }
            self.expect(&Token::Comma)?;
        }
    }
}
