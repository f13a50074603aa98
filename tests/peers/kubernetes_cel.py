"""Expressions of a MutatingAdmissionPolicy, evaluated by Google's own implementation of CEL in C++ (cel-expr-python).

There is no API server here. What Kubernetes adds to CEL is bridged so:
  - `JSONPatch{...}` and `Object.a.b{...}` are messages of protobuf. Those of objects are made from the schemas of
    Kubernetes (kubernetes-validate), so a field that is misspelt, of another type, or under a wrong path does not
    compile; that is stricter than the API server. A dot in a type's name becomes `__`.
  - `isIP`, `isCIDR`, `cidr`, `quantity`, `jsonpatch.escapeKey` and `indexOf` of lists are functions in Python.
  - `variables.name` is a variable `variables__name` of the type that its expression was found to have.
  - lists and maps with elements of different types, which Kubernetes refuses: the fields above have types, and
    what is left are maps of strings; CEL here does not check them.
"""

import ipaddress
import json
import pathlib
import re
from decimal import Decimal

import kubernetes_validate
from cel_expr_python import cel
from cel_expr_python.ext import ext_optional, ext_strings
from google.protobuf import descriptor_pb2, descriptor_pool, json_format, struct_pb2

SCHEMAS = pathlib.Path(kubernetes_validate.__file__).parent / "kubernetes-json-schema"
UNITS = {"": 1, "m": Decimal("0.001"), **{unit: 1000 ** power for power, unit in enumerate("kMGTPE", 1)},
         **{unit + "i": 1024 ** power for power, unit in enumerate("KMGTPE", 1)}}
FIELD = descriptor_pb2.FieldDescriptorProto
VALUE = ".google.protobuf.Value"


class Policy:
    """One policy: compiled once, asked about many pods."""

    def __init__(self, spec, version="1.36"):
        texts = json.dumps(spec)
        self.pool = pool(set(re.findall(r"Object((?:\.\w+)+)\{", texts)), schema(version))
        self.declared = {"object": cel.Type.DYN, "namespaceObject": cel.Type.DYN}
        self.conditions = [(one["name"], self.compiled(one["expression"], "BOOL")) for one in spec["matchConditions"]]
        self.variables = []
        for one in spec["variables"]:
            expression = self.compiled(one["expression"])
            self.declared[f"variables__{one['name']}"] = expression.return_type()
            self.variables.append((f"variables__{one['name']}", expression))
        self.mutations = [self.compiled(one["jsonPatch"]["expression"], "LIST") for one in spec["mutations"]]

    def compiled(self, text, wanted=None):
        text = re.sub(r"\bvariables\.", "variables__", text)
        text = re.sub(r"\bObject((?:\.\w+)+)\{", lambda found: message_name(found[1]) + "{", text)
        extensions = [ext_strings.ExtStrings(), ext_optional.ExtOptional(), FUNCTIONS]
        expression = cel.NewEnv(self.pool, variables=self.declared, extensions=extensions).compile(text)
        if wanted and not expression.return_type().name().startswith((wanted, wanted.lower())):
            raise TypeError(f"a {expression.return_type().name()}, not a {wanted}: {text}")
        return expression

    def against(self, pod):
        """Names of the conditions that are false; one that fails is an error, as for failurePolicy Fail."""
        answers = {name: expression.eval(data={"object": pod}).value() for name, expression in self.conditions}
        wrong = {name: answer for name, answer in answers.items() if not isinstance(answer, bool)}
        if wrong:
            raise ValueError(f"no answer: {wrong}")
        return [name for name, answer in answers.items() if not answer]

    def patch(self, pod, namespace):
        """The operations of all mutations, as of JSON Patch."""
        data = {"object": pod, "namespaceObject": namespace}
        for name, expression in self.variables:
            data[name] = plain(expression.eval(data=data), name)
        results = [plain(expression.eval(data=data), "mutation") for expression in self.mutations]
        return [whole(json_format.MessageToDict(one)) for result in results for one in result]


def plain(result, name):
    if result.type() == cel.Type.ERROR:
        raise ValueError(f"{name}: {result.plain_value()}")
    return result.plain_value()


def whole(value):
    """Numbers of JSON Patch came through a message, where all are floats."""
    if isinstance(value, dict):
        return {key: whole(one) for key, one in value.items()}
    if isinstance(value, list):
        return [whole(one) for one in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


# --- types ---

def message_name(path):
    return "Object" + path.replace(".", "__")


def schema(version):
    folder = max(SCHEMAS.glob(f"v{version}.*-local"))
    return json.loads((folder / "_definitions.json").read_text())["$defs"]


def pool(paths, schemas):
    """Descriptors of JSONPatch and of the objects at these paths of a pod."""
    made = descriptor_pool.DescriptorPool()
    made.AddSerializedFile(struct_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(name="policy.proto", syntax="proto3",
                                              dependency=["google/protobuf/struct.proto"])
    patch = file.message_type.add(name="JSONPatch")
    for number, name in enumerate(["op", "path", "from"], 1):
        add_field(patch, number, name, FIELD.TYPE_STRING)
    add_field(patch, 4, "value", FIELD.TYPE_MESSAGE, VALUE)
    for path in sorted(paths):
        message = file.message_type.add(name=message_name(path))
        for number, (key, one) in enumerate(sorted(at(path, schemas)["properties"].items()), 1):
            declare(message, number, key, resolved(one, schemas), f"{path}.{key}", paths, schemas)
    made.AddSerializedFile(file.SerializeToString())
    return made


def resolved(one, schemas):
    while "$ref" in one:
        one = schemas[one["$ref"].rsplit("/", 1)[1]]
    return one


def at(path, schemas):
    """The schema of the object at `.spec.a.b` of a pod; lists on the way are passed through."""
    here = schemas["io.k8s.api.core.v1.Pod"]
    for key in path.split(".")[1:]:
        here = resolved(here["properties"][key], schemas)
        here = resolved(here.get("items", here), schemas)
    return here


def declare(message, number, key, one, path, paths, schemas):
    repeated = kind(one) == "array"
    one = resolved(one.get("items", {}), schemas) if repeated else one
    if path in paths:
        add_field(message, number, key, FIELD.TYPE_MESSAGE, "." + message_name(path), repeated)
    elif kind(one) in ("string", "integer", "boolean"):
        add_field(message, number, key, {"string": FIELD.TYPE_STRING, "integer": FIELD.TYPE_INT32,
                                         "boolean": FIELD.TYPE_BOOL}[kind(one)], None, repeated)
    elif "additionalProperties" in one:
        entry = message.nested_type.add(name=key.capitalize() + "Entry")
        entry.options.map_entry = True
        add_field(entry, 1, "key", FIELD.TYPE_STRING)
        add_field(entry, 2, "value", FIELD.TYPE_STRING)
        add_field(message, number, key, FIELD.TYPE_MESSAGE, f".{message.name}.{entry.name}", True)
    elif "properties" not in one:                            # int-or-string
        add_field(message, number, key, FIELD.TYPE_MESSAGE, VALUE, repeated)


def kind(one):
    found = one.get("type")
    return next((name for name in found if name != "null"), None) if isinstance(found, list) else found


def add_field(message, number, name, kind, type_name=None, repeated=False):
    field = message.field.add(name=name, json_name=name, number=number, type=kind, type_name=type_name,
                              label=FIELD.LABEL_REPEATED if repeated else FIELD.LABEL_OPTIONAL)
    if not repeated and kind != FIELD.TYPE_MESSAGE and not message.options.map_entry:
        field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)   # false and 0 are said, not left out
        message.oneof_decl.add(name=f"_{name}")


# --- functions ---

def network(text):
    """As Go reads it: a length is a must, and neither zones nor addresses of IPv4 in IPv6 are taken."""
    address, _, bits = text.partition("/")
    if not re.fullmatch("0|[1-9][0-9]{0,2}", bits):
        raise ValueError(f"{text}: no length")
    return ipaddress.ip_interface(f"{ip(address)}/{bits}")


def ip(text):
    address = ipaddress.ip_address(text)
    if getattr(address, "ipv4_mapped", None) or "%" in text:
        raise ValueError(f"{text} is not allowed")
    return address


def succeeds(function):
    def answer(text):
        try:
            return function(text) is not None
        except ValueError:
            return False
    return answer


def quantity(text):
    number, unit = re.fullmatch(r"([0-9.]+)([A-Za-z]*)", text).groups()
    return str(Decimal(number) * UNITS[unit])


def function(name, result, *parameters, impl, member=False):
    overload = cel.Overload(f"k8s_{name}_{len(parameters)}", result, list(parameters), is_member=member, impl=impl)
    return cel.FunctionDecl(name, [overload])


TEXT, TEXTS = cel.Type.STRING, cel.Type.List(cel.Type.STRING)
FUNCTIONS = cel.CelExtension("kubernetes", [
    function("jsonpatch.escapeKey", TEXT, TEXT, impl=lambda key: key.replace("~", "~0").replace("/", "~1")),
    function("isIP", cel.Type.BOOL, TEXT, impl=succeeds(ip)),
    function("isCIDR", cel.Type.BOOL, TEXT, impl=succeeds(network)),
    function("cidr", TEXT, TEXT, impl=lambda text: str(network(text))),
    function("masked", TEXT, TEXT, impl=lambda text: str(ipaddress.ip_interface(text).network), member=True),
    function("quantity", TEXT, TEXT, impl=quantity),
    function("compareTo", cel.Type.INT, TEXT, TEXT, member=True,
             impl=lambda one, other: (Decimal(one) > Decimal(other)) - (Decimal(one) < Decimal(other))),
    function("indexOf", cel.Type.INT, TEXTS, TEXT, member=True,
             impl=lambda texts, text: [str(getattr(one, "value", lambda: one)()) for one in texts].index(text)),
])
