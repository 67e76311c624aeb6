#!/usr/bin/env python3
"""Writes the parts of the Rust binding that follow from the C API: declarations, plain records, settings.

It reads capi/abi/tessera.json, the header for its comments, and docs/settings.md, which is made from the library's
schema. With --check it writes nothing
and fails where a file differs. It must not know what the safe layer does with what it writes.

  bindings/rust/generate.py [--check]
"""

import argparse
import json
import pathlib
import re
import subprocess
import sys
import textwrap

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent

SCALARS = {
    'void': 'c_void', 'char': 'c_char', 'int': 'c_int', 'size_t': 'usize', 'float': 'f32', 'double': 'f64',
    'int32_t': 'i32', 'int64_t': 'i64', 'uint8_t': 'u8', 'uint32_t': 'u32', 'uint64_t': 'u64',
}
KEYWORDS = {'in', 'type', 'fn', 'ref', 'match', 'use'}
# Records that the safe layer hands out as they are: C name, Rust name, what the Rust type's line says.
RECORDS = [
    ('tsr_step_stats', 'StepStats', 'What a step did.'),
    ('tsr_engine_metrics', 'Metrics', "An engine's counters since it was created, and what it holds now."),
    ('tsr_plan', 'Plan', 'What an engine over a model would take, by tier, and how fast it should run.'),
]
# Sections of docs/settings.md by the keys' prefix: builder, what its line says.
BUILDERS = [
    ('runtime', 'RuntimeOptions', 'Settings of [`Runtime::with`](crate::Runtime::with).'),
    ('model,device', 'ModelOptions', 'Settings of [`Model::load_with`](crate::Model::load_with).'),
    ('chat', 'ChatOptions', 'Settings of chat templates.'),
    ('engine', 'EngineOptions', 'Settings of [`Engine::with`](crate::Engine::with).'),
    ('plan', 'PlanOptions', 'Settings of [`Plan::new`](crate::Plan::new).'),
    ('session', 'SessionOptions', 'Settings of sessions that are made, forked or restored.'),
    ('state', 'StateOptions', 'Settings of saved sessions.'),
    ('queue', 'QueueOptions', 'Settings of [`Queue::with`](crate::Queue::with).'),
    ('request,sampling', 'GenerateOptions', 'Settings of a request: when it ends and how tokens are chosen.'),
]


def rust_name(name):
    return 'r#' + name if name in KEYWORDS else name


def rust_type(c_type):
    """A C type as Rust spells it; arrays are the caller's."""
    tokens = re.findall(r'\w+|\*', c_type)
    base, result = None, None
    pending = False
    for token in tokens:
        if token == 'const':
            pending = True
        elif token == '*':
            result = ('*const ' if pending else '*mut ') + (result or base)
            pending = False
        elif token != 'struct':
            base = SCALARS.get(token, token)
    return result or base


def plain_text(comment):
    """A Doxygen comment as lines of rustdoc."""
    text = re.sub(r'^\s*/\*\*<?', '', comment)
    text = re.sub(r'\*/\s*$', '', text)
    lines = [re.sub(r'^\s*\* ?', '', line).strip() for line in text.split('\n')]
    text = '\n'.join(lines).strip()
    text = re.sub(r'@brief\s+', '', text)
    text = re.sub(r'@param\s+(\w+)', r'\n`\1`:', text)
    text = re.sub(r'@return\b', r'\nReturns', text)
    text = re.sub(r'@b\s+(\w+)', r'*\1*', text)
    parts = re.split(r'(`[^`]*`)', text)
    for i, part in enumerate(parts):
        if i % 2 == 0:
            part = re.sub(r'([\[\]<>])', r'\\\1', part)
            part = re.sub(r'(?:#|::)(TSR_\w+|tsr_\w+)', r'`\1`', part)
        parts[i] = part
    out = []
    for line in ''.join(parts).strip().split('\n'):
        if line.strip() or (out and out[-1]):
            out.append(line.strip())
    return out


def doc(lines, indent=''):
    lines = [part for line in lines for part in textwrap.wrap(line, 100, break_on_hyphens=False) or ['']]
    return ''.join(f'{indent}/// {line}'.rstrip() + '\n' for line in lines)


class Comments:
    """The header's comments, by what they speak of: a name, or a structure's and its field's."""

    def __init__(self, text):
        self.by_name = {}
        for name in re.findall(r'^#define (TSR_\w+) \d+ /\*\*<', text, re.M):
            self.by_name[name] = plain_text(re.search(rf'^#define {name} \d+ (/\*.*?\*/)', text, re.M | re.S).group(1))
        for comment, name in re.findall(r'(/\*\*(?:(?!\*/).)*?\*/)\s*#define (TSR_\w+) \d+$', text, re.M | re.S):
            self.by_name[name] = plain_text(comment)
        text = text[text.index('extern "C" {') + len('extern "C" {'):]
        text = re.sub(r'^\s*#.*$', '', text, flags=re.M)
        self.comments = []
        text = re.sub(r'/\*.*?\*/', self._keep, text, flags=re.S)
        for statement in self._statements(text):
            self._read(statement)

    def of(self, *names):
        return self.by_name.get('.'.join(names), [])

    def _keep(self, match):
        self.comments.append(match.group(0))
        return f' @{len(self.comments) - 1}@ '

    @staticmethod
    def _statements(text):
        depth, start = 0, 0
        for i, c in enumerate(text):
            depth += (c == '{') - (c == '}')
            if c == ';' and depth == 0:
                yield text[start:i].strip()
                start = i + 1

    def _last(self, text, trailing=False):
        """The last comment of a kind; Doxygen's groups are none."""
        found = [self.comments[int(number)] for number in re.findall(r'@(\d+)@', text)]
        found = [one for one in found if one.startswith('/**<') == trailing and not re.search(r'@name|@[{}]', one)]
        return plain_text(found[-1]) if found else []

    @staticmethod
    def _bare(text):
        return re.sub(r'\s+', ' ', re.sub(r'@\d+@', ' ', text)).strip()

    def _read(self, statement):
        bare = self._bare(statement)
        if bare.startswith('enum'):
            body = statement[statement.index('{') + 1:statement.rindex('}')]
            for piece in self._pieces(body, ','):
                self.by_name[self._bare(piece).split()[0]] = self._last(piece, True)
        elif match := re.match(r'typedef struct (\w+) {', bare):
            head, body = statement.split('{', 1)
            self.by_name[match.group(1)] = self._last(head)
            for piece in self._pieces(body[:body.rindex('}')], ';'):
                name = re.match(r'.*?(?:\(\*(\w+)\)\(|(\w+)(?:\[\w+\])?$)', self._bare(piece))
                self.by_name[f'{match.group(1)}.{name.group(1) or name.group(2)}'] = \
                    self._last(piece, True) or self._last(piece)
        elif match := re.match(r'typedef .*?(\w+)$|TSR_API .*?(\w+)\(', bare):
            self.by_name[match.group(1) or match.group(2)] = self._last(statement)

    @staticmethod
    def _pieces(body, separator):
        """Divides a body; a comment behind a separator belongs to what stands before it."""
        pieces = re.split(re.escape(separator) + r'(?![^(]*\))', body)
        for i in range(1, len(pieces)):
            if match := re.match(r'\s*@(\d+)@', pieces[i]):
                pieces[i - 1] += match.group(0)
                pieces[i] = pieces[i][match.end():]
        return [piece for piece in pieces if Comments._bare(piece)]


def parameters(entries):
    return ', '.join(f'{rust_name(entry["name"])}: {rust_type(entry["type"])}' for entry in entries)


def arrow(result):
    return '' if result == 'void' else f' -> {rust_type(result)}'


def field_type(field):
    if callback := field.get('callback'):
        return f'Option<unsafe extern "C" fn({parameters(callback["parameters"])}){arrow(callback["returns"])}>'
    kind = rust_type(field['type'])
    return f'[{kind}; {field["count"]}]' if 'count' in field else kind


def constant_type(name):
    return 'usize' if name.endswith('_BYTES') else 'u32' if name.startswith('TSR_EVENT') else 'i32'


def write_declarations(abi, comments):
    out = ['// The C API as Rust declarations. Written by bindings/rust/generate.py from the ABI description (capi/abi)\n'
           "// and the header's comments: change those.\n",
           'use std::os::raw::{c_char, c_int, c_void};\n\n']
    for alias in abi['aliases']:
        out.append(doc(comments.of(alias['name'])) + f'pub type {alias["name"]} = {SCALARS[alias["type"]]};\n\n')
    for constant in abi['constants']:
        name = constant['name']
        out.append(doc(comments.of(name) or [constant['doc']]) +
                   f'pub const {name}: {constant_type(name)} = {constant["value"]};\n')
    out.append('\n')
    for name in abi['handles']:
        out.append(doc(comments.of(name)) + f'#[repr(C)]\npub struct {name} {{\n    _opaque: [u8; 0],\n'
                   '    _not_send: core::marker::PhantomData<(*mut u8, core::marker::PhantomPinned)>,\n}\n\n')
    for struct in abi['structs']:
        name = struct['name']
        out.append(doc(comments.of(name)) + f'#[repr(C)]\n#[derive(Clone, Copy)]\npub struct {name} {{\n')
        for field in struct['fields']:
            out.append(doc(comments.of(name, field['name']) or ['See the structure.'], '    ') +
                       f'    pub {rust_name(field["name"])}: {field_type(field)},\n')
        out.append('}\n\n')
    out.append('extern "C" {\n')
    for function in abi['functions']:
        out.append(doc(comments.of(function['name']) or [function['doc']], '    ') +
                   f'    pub fn {function["name"]}({parameters(function["parameters"])})'
                   f'{arrow(function["returns"])};\n')
    out.append('}\n')
    return ''.join(out)


def write_layout_test(abi):
    """A test that the declarations lie in memory as the description says."""
    out = ['//! Structures lie in memory as the ABI description says. Written by bindings/rust/generate.py from\n'
           '//! capi/abi/tessera.json: change that.\n#![cfg(all(target_os = "linux", target_pointer_width = "64"))]\n\n'
           'use std::mem::{size_of, MaybeUninit};\nuse std::ptr::addr_of;\n\nuse tessera_sys::*;\n\n'
           '/// Where a field is, and how large.\nmacro_rules! place {\n    ($kind:ident, $field:ident) => {{\n'
           '        let whole = MaybeUninit::<$kind>::uninit();\n'
           '        // SAFETY: only the address is taken.\n'
           '        let field = unsafe { addr_of!((*whole.as_ptr()).$field) };\n'
           '        fn size<T>(_: *const T) -> usize {\n            size_of::<T>()\n        }\n'
           '        (field as usize - whole.as_ptr() as usize, size(field))\n    }};\n}\n']
    for struct in abi['structs']:
        name = struct['name']
        out.append(f'\n#[test]\nfn {name}_lies_as_described() {{\n'
                   f'    assert_eq!(size_of::<{name}>(), {struct["size"]});\n')
        for field in struct['fields']:
            out.append(f'    assert_eq!(place!({name}, {rust_name(field["name"])}), '
                       f'({field["offset"]}, {field["size"]}));\n')
        out.append('}\n')
    return ''.join(out)


def write_records(abi, comments):
    out = ['// Records that the library fills, as plain Rust structures. Written by bindings/rust/generate.py from\n'
           "// the ABI description (capi/abi) and the header's comments: change those.\n"]
    structs = {struct['name']: struct for struct in abi['structs']}
    for c_name, name, line in RECORDS:
        fields = []
        for field in structs[c_name]['fields']:
            if field['name'] not in ('struct_size', 'reserved'):
                flag = field['name'] in ('work_left', 'fits')
                lines = comments.of(c_name, field['name'])
                fields.append((field['name'], 'bool' if flag else field_type(field), lines, flag))
        out.append(f'/// {line}\n#[derive(Clone, Copy, Debug, PartialEq)]\n#[non_exhaustive]\npub struct {name} {{\n')
        for field_name, kind, lines, _ in fields:
            text = ' '.join(lines).replace('1: ', 'True: ').replace(' 0: nothing', ' False: nothing')
            out.append(doc([text or 'See the structure.'], '    ') + f'    pub {field_name}: {kind},\n')
        out.append(f'}}\n\nimpl {name} {{\n    pub(crate) fn from_raw(raw: &sys::{c_name}) -> Self {{\n        Self {{\n')
        for field_name, _, _, flag in fields:
            out.append(f'            {field_name}: raw.{field_name}{" != 0" if flag else ""},\n')
        out.append('        }\n    }\n}\n\n')
    return out[0] + '\nuse tessera_sys as sys;\n\n' + ''.join(out[1:])


def setters(key, kind, meaning):
    """The builder's function for one key; None where the safe layer has one by hand."""
    name = rust_name(key.split('.', 1)[1])
    if kind == 'callbacks':
        return None
    unsafe, argument, value = '', '', ''
    if key.endswith('_ns'):
        name, argument, value = name[:-3], 'value: std::time::Duration', 'crate::options::nanoseconds(value)'
        name = name[:-len('_duration')] if name.endswith('_duration') else name
    elif kind == 'int':
        argument, value = 'value: i64', 'value'
    elif kind == 'float':
        argument, value = 'value: f64', 'value'
    elif kind == 'bool':
        argument, value = 'value: bool', 'value'
    elif kind == 'string':
        argument, value = 'value: impl Into<String>', 'value.into()'
    elif kind == 'int list':
        argument = 'values: impl IntoIterator<Item = impl Into<i64>>'
        value = 'values.into_iter().map(Into::into).collect::<Vec<i64>>()'
    elif kind == 'float list':
        argument, value = 'values: impl Into<Vec<f64>>', 'values.into()'
    elif kind == 'string list':
        argument = 'values: impl IntoIterator<Item = impl Into<String>>'
        value = 'values.into_iter().map(Into::into).collect::<Vec<String>>()'
    elif kind == 'pointer':
        unsafe, argument = 'unsafe ', 'value: *mut std::os::raw::c_void'
        value = 'crate::options::Pointer::new(value)'
    else:
        raise ValueError(f'{key}: a setting of type "{kind}" is new')
    lines = [meaning]
    if unsafe:
        lines += ['', '# Safety', 'What it points to must be what the setting asks for, and outlive all that is made '
                  'with these options.']
    return (doc(lines, '    ') + '    #[must_use]\n' +
            f'    pub {unsafe}fn {name}(self, {argument}) -> Self {{\n        self.set("{key}", {value})\n    }}\n\n')


def write_settings(page):
    out = ['// Settings as builders. Written by bindings/rust/generate.py from docs/settings.md, which is made from the\n'
           '// library\'s schema: change that.\n\nuse crate::options::{Options, Value};\n\n']
    rows = re.findall(r'^\| `([\w.]+)` \| ([\w ]+) \| (.*?) \| (.*?) \| (.*) \|$', page, re.M)
    if len(rows) < 40:
        raise ValueError('docs/settings.md has another form than this script knows')
    for prefixes, name, line in BUILDERS:
        out.append(f'/// {line}\n#[derive(Clone, Debug, Default)]\npub struct {name}(pub(crate) Options);\n\n'
                   f'impl {name} {{\n    /// Every setting at its default.\n    pub fn new() -> Self {{\n'
                   '        Self::default()\n    }\n\n'
                   '    /// Sets `key`, replacing an earlier value. An unknown key, or a value out of range, is an error of\n'
                   '    /// the call that takes the options.\n    #[must_use]\n'
                   '    pub fn set(mut self, key: &str, value: impl Into<Value>) -> Self {\n'
                   '        self.0.insert(key, value.into());\n        self\n    }\n\n')
        for key, kind, span, default, meaning in rows:
            if key.split('.')[0] in prefixes.split(','):
                text = meaning.replace('<|', '\\<|').replace('|>', '|\\>')
                text = re.sub(r'(tsr_\w+(?:_\*)?|TSR_\w+)', r'`\1`', text)
                text = re.sub(r'``(\S+?)``', r'`\1`', text).replace('`\\<', '`<').replace('\\>`', '>`')
                facts = ', '.join(f'{what}: {fact}' for what, fact in (('range', span), ('default', default))
                                  if fact.strip())
                out.append(setters(key, kind, f'{text} (`{key}`; {facts})') or '')
        out.append('}\n\n')
    return ''.join(out)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument('--check', action='store_true')
    check = arguments.parse_args().check
    abi = json.loads((ROOT / 'capi/abi/tessera.json').read_text())
    comments = Comments((ROOT / 'capi/include/tessera/tessera.h').read_text())
    files = {
        HERE / 'tessera-sys/src/bindings.rs': write_declarations(abi, comments),
        HERE / 'tessera-sys/tests/layout.rs': write_layout_test(abi),
        HERE / 'tessera/src/records.rs': write_records(abi, comments),
        HERE / 'tessera/src/settings.rs': write_settings((ROOT / 'docs/settings.md').read_text()),
    }
    different = []
    for path, text in files.items():
        text = subprocess.run(['rustfmt', '--edition', '2021', '--config-path', str(HERE)], input=text, check=True,
                              capture_output=True, text=True).stdout
        if not path.exists() or path.read_text() != text:
            different.append(path)
            if not check:
                path.write_text(text)
    if check and different:
        sys.exit('not as generate.py writes them: ' + ', '.join(str(path) for path in different))


if __name__ == '__main__':
    main()
