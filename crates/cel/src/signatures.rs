//! The functions there are: operators, conversions, and the libraries of upstream's environment
//! (`apiserver/pkg/cel/environment/base.go`). Those of the authorizer can be called where a variable has its type.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock};

use super::types::{Type, UNBOUNDED};

/// One overload.
#[derive(Debug)]
pub(super) struct Signature {
    pub(super) member: bool,
    /// The target first, where there is one.
    pub(super) args: Vec<Type>,
    pub(super) result: Type,
}

// `name target.(arguments) result`; several argument lists of one result are separated by `|`.
const TABLE: &str = "
_&&_ (bool,bool) bool
_||_ (bool,bool) bool
!_ (bool) bool
_?_:_ (bool,A,A) A
_==_ (A,A) bool
_!=_ (A,A) bool
@in (A,list(A))|(A,map(A,B)) bool
_[_] (list(A),int) A
_[_] (map(A,B),A) B
_[_] (optional(list(A)),int) optional(A)
_[_] (optional(map(A,B)),A) optional(B)
_[?_] (list(A),int)|(optional(list(A)),int) optional(A)
_[?_] (map(A,B),A)|(optional(map(A,B)),A) optional(B)
-_ (int) int
-_ (double) double
-_ (duration) duration
_+_ (int,int) int
_+_ (uint,uint) uint
_+_ (double,double) double
_+_ (string,string) string
_+_ (bytes,bytes) bytes
_+_ (list(A),list(A)) list(A)
_+_ (duration,duration) duration
_+_ (timestamp,duration)|(duration,timestamp) timestamp
_-_ (int,int) int
_-_ (uint,uint) uint
_-_ (double,double) double
_-_ (timestamp,timestamp)|(duration,duration) duration
_-_ (timestamp,duration) timestamp
_*_ (int,int) int
_*_ (uint,uint) uint
_*_ (double,double) double
_/_ (int,int) int
_/_ (uint,uint) uint
_/_ (double,double) double
_%_ (int,int) int
_%_ (uint,uint) uint
size (string)|(bytes)|(list(A))|(map(A,B)) int
size string.()|bytes.()|list(A).()|map(A,B).() int
int (int)|(uint)|(double)|(string)|(timestamp)|(duration) int
uint (uint)|(int)|(double)|(string) uint
double (double)|(int)|(uint)|(string) double
string (string)|(bool)|(int)|(uint)|(double)|(bytes)|(timestamp)|(duration) string
bytes (bytes)|(string) bytes
bool (bool)|(string) bool
dyn (A) dyn
type (A) type
timestamp (timestamp)|(string)|(int) timestamp
duration (duration)|(string)|(int) duration
startsWith string.(string) bool
endsWith string.(string) bool
contains string.(string) bool
matches string.(string) bool
matches (string,string) bool
charAt string.(int) string
indexOf string.(string)|string.(string,int)|list(A).(A) int
lastIndexOf string.(string)|string.(string,int)|list(A).(A) int
lowerAscii string.() string
upperAscii string.() string
trim string.() string
replace string.(string,string)|string.(string,string,int) string
split string.(string)|string.(string,int) list(string)
substring string.(int)|string.(int,int) string
join list(string).()|list(string).(string) string
format string.(list(dyn)) string
strings.quote (string) string
find string.(string) string
findAll string.(string)|string.(string,int) list(string)
isSorted list(A).() bool
sum list(int).() int
sum list(uint).() uint
sum list(double).() double
sum list(duration).() duration
min list(A).() A
max list(A).() A
slice list(A).(int,int) list(A)
flatten list(list(A)).()|list(list(A)).(int) list(A)
distinct list(A).() list(A)
reverse list(A).() list(A)
sort list(A).() list(A)
first list(A).() optional(A)
last list(A).() optional(A)
lists.range (int) list(int)
sets.contains (list(A),list(A)) bool
sets.equivalent (list(A),list(A)) bool
sets.intersects (list(A),list(A)) bool
optional.of (A) optional(A)
optional.ofNonZeroValue (A) optional(A)
optional.none () optional(A)
hasValue optional(A).() bool
value optional(A).() A
or optional(A).(optional(A)) optional(A)
orValue optional(A).(A) A
getFullYear timestamp.()|timestamp.(string) int
getMonth timestamp.()|timestamp.(string) int
getDayOfYear timestamp.()|timestamp.(string) int
getDayOfMonth timestamp.()|timestamp.(string) int
getDate timestamp.()|timestamp.(string) int
getDayOfWeek timestamp.()|timestamp.(string) int
getHours timestamp.()|timestamp.(string)|duration.() int
getMinutes timestamp.()|timestamp.(string)|duration.() int
getSeconds timestamp.()|timestamp.(string)|duration.() int
getMilliseconds timestamp.()|timestamp.(string)|duration.() int
quantity (string) Quantity
isQuantity (string) bool
sign Quantity.() int
isInteger Quantity.() bool
asInteger Quantity.() int
asApproximateFloat Quantity.() double
add Quantity.(Quantity)|Quantity.(int) Quantity
sub Quantity.(Quantity)|Quantity.(int) Quantity
isGreaterThan Quantity.(Quantity)|Semver.(Semver) bool
isLessThan Quantity.(Quantity)|Semver.(Semver) bool
compareTo Quantity.(Quantity)|Semver.(Semver) int
url (string) URL
isURL (string) bool
getScheme URL.() string
getHost URL.() string
getHostname URL.() string
getPort URL.() string
getEscapedPath URL.() string
getQuery URL.() map(string,list(string))
ip (string) IP
isIP (string) bool
ip.isCanonical (string) bool
family IP.() int
isUnspecified IP.() bool
isLoopback IP.() bool
isLinkLocalMulticast IP.() bool
isLinkLocalUnicast IP.() bool
isGlobalUnicast IP.() bool
cidr (string) CIDR
isCIDR (string) bool
containsIP CIDR.(string)|CIDR.(IP) bool
containsCIDR CIDR.(string)|CIDR.(CIDR) bool
ip CIDR.() IP
masked CIDR.() CIDR
prefixLength CIDR.() int
string (IP)|(CIDR) string
semver (string)|(string,bool) Semver
isSemver (string)|(string,bool) bool
major Semver.() int
minor Semver.() int
patch Semver.() int
path Authorizer.(string) PathCheck
group Authorizer.(string) GroupCheck
serviceAccount Authorizer.(string,string) Authorizer
resource GroupCheck.(string) ResourceCheck
subresource ResourceCheck.(string) ResourceCheck
namespace ResourceCheck.(string) ResourceCheck
name ResourceCheck.(string) ResourceCheck
fieldSelector ResourceCheck.(string) ResourceCheck
labelSelector ResourceCheck.(string) ResourceCheck
check PathCheck.(string)|ResourceCheck.(string) Decision
allowed Decision.() bool
reason Decision.() string
errored Decision.() bool
error Decision.() string
jsonpatch.escapeKey (string) string
format.named (string) optional(Format)
validate Format.(string) optional(list(string))
format.dns1123Label () Format
format.dns1123Subdomain () Format
format.dns1035Label () Format
format.qualifiedName () Format
format.dns1123LabelPrefix () Format
format.dns1123SubdomainPrefix () Format
format.dns1035LabelPrefix () Format
format.labelValue () Format
format.uri () Format
format.uuid () Format
format.byte () Format
format.date () Format
format.datetime () Format
";

/// Names of functions that are written like a field of something.
pub(super) const NAMESPACES: [&str; 7] = ["strings", "sets", "lists", "optional", "ip", "format", "jsonpatch"];

static SIGNATURES: LazyLock<HashMap<String, Vec<Signature>>> = LazyLock::new(|| {
    let mut out: HashMap<String, Vec<Signature>> = HashMap::new();
    for line in TABLE.lines().filter(|line| !line.is_empty()) {
        let mut words = line.split(' ');
        let (Some(name), Some(shapes), Some(result)) = (words.next(), words.next(), words.next()) else { continue };
        for shape in shapes.split('|') {
            out.entry(name.to_owned()).or_default().push(signature(shape, result));
        }
    }
    // Numbers compare with one another; other ordered types with themselves.
    for name in ["_<_", "_<=_", "_>_", "_>=_"] {
        let numbers = ["int", "uint", "double"];
        let pairs = numbers.iter().flat_map(|a| numbers.iter().map(move |b| format!("({a},{b})")));
        let same = ["string", "bytes", "bool", "timestamp", "duration"].iter().map(|t| format!("({t},{t})"));
        out.entry(name.to_owned()).or_default().extend(pairs.chain(same).map(|shape| signature(&shape, "bool")));
    }
    out
});

pub(super) fn of(name: &str) -> &'static [Signature] {
    SIGNATURES.get(name).map_or(&[], Vec::as_slice)
}

fn signature(shape: &str, result: &str) -> Signature {
    let (target, args) = match shape.rsplit_once(".(") {
        Some((target, args)) => (Some(target), args),
        None => (None, shape.trim_start_matches('(')),
    };
    let args = args.strip_suffix(')').unwrap_or(args);
    let types = target.into_iter().chain(split(args)).map(parse).collect();
    Signature { member: target.is_some(), args: types, result: parse(result) }
}

fn split(text: &str) -> Vec<&str> {
    let (mut out, mut depth, mut start) = (Vec::new(), 0, 0);
    for (i, c) in text.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            ',' if depth == 0 => {
                out.push(&text[start..i]);
                start = i + 1;
            }
            _ => {}
        }
    }
    if start < text.len() {
        out.push(&text[start..]);
    }
    out
}

fn parse(text: &str) -> Type {
    if let Some((name, inner)) = text.strip_suffix(')').and_then(|t| t.split_once('(')) {
        let inner: Vec<Type> = split(inner).into_iter().map(parse).collect();
        return match (name, inner.as_slice()) {
            ("list", [item]) => Type::List(Arc::new(item.clone()), UNBOUNDED),
            ("optional", [inner]) => Type::Optional(Arc::new(inner.clone())),
            (_, [key, value]) => Type::Map(Arc::new(key.clone()), Arc::new(value.clone()), UNBOUNDED),
            _ => Type::ANY,
        };
    }
    match text {
        "A" => Type::Param('A'),
        "B" => Type::Param('B'),
        "bool" => Type::Bool,
        "int" => Type::Int,
        "uint" => Type::Uint,
        "double" => Type::Double,
        "string" => Type::String(UNBOUNDED),
        "bytes" => Type::Bytes(UNBOUNDED),
        "timestamp" => Type::Timestamp,
        "duration" => Type::Duration,
        "type" => Type::Type,
        "Quantity" => Type::Opaque("kubernetes.Quantity"),
        "URL" => Type::Opaque("kubernetes.URL"),
        "IP" => Type::Opaque("net.IP"),
        "CIDR" => Type::Opaque("net.CIDR"),
        "Semver" => Type::Opaque("kubernetes.Semver"),
        "Authorizer" => Type::Opaque("kubernetes.authorization.Authorizer"),
        "PathCheck" => Type::Opaque("kubernetes.authorization.PathCheck"),
        "GroupCheck" => Type::Opaque("kubernetes.authorization.GroupCheck"),
        "ResourceCheck" => Type::Opaque("kubernetes.authorization.ResourceCheck"),
        "Decision" => Type::Opaque("kubernetes.authorization.Decision"),
        "Format" => Type::Opaque("kubernetes.NamedFormat"),
        _ => Type::ANY,
    }
}
