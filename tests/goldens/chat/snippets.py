"""Small templates, each about one thing, with what they are given. make.py renders them as transformers does."""

MESSAGES = [
    {"role": "system", "content": " Be brief. "},
    {"role": "user", "content": "Hi <|im_end|> there\nsecond line"},
    {"role": "assistant", "content": "Hello!", "tool_calls": [{"name": "f", "arguments": {"x": 1, "y": [1.5, None]}}]},
    {"role": "user", "content": "Grüße, 世界 🎉"},
]
CONTEXT = {
    "messages": MESSAGES,
    "n": 7, "big": 9007199254740993, "neg": -7, "f": 2.5, "whole": 3.0, "tiny": 1e-7, "large": 1.5e300, "t": True,
    "none": None, "s": "Hello World", "u": "äöü ß ﬁ İstanbul 世界🎉", "blank": "", "spaces": "  a b\t c \n",
    "lines": "one\n\n two\nthree", "list": [3, 1, 2], "words": ["b", "A", "c", "a"], "mixed": [1, "a", None, 2.0, True],
    "d": {"b": 1, "a": [1, {"z": "q\"uo'te"}], "C": None}, "nested": {"items": [1, 2], "x": {"y": {"z": "deep"}}},
    "people": [{"name": "Bo", "age": 30}, {"name": "al", "age": 20}, {"name": "Cy", "age": 30, "x": {"y": 5}}],
    "html": "<a href=\"x\">'&'</a>", "quote": "it's", "esc": "tab\tnew\nbs\\nul\u0001é\u2028",
}

PLAIN = r"""
{{ s }}
{{ n + 1 }} {{ n - 10 }} {{ n * 2 }} {{ n / 2 }} {{ n // 2 }} {{ n % 4 }} {{ n ** 2 }} {{ 2 ** -1 }} {{ 2 ** 0.5 }}
{{ neg // 2 }} {{ neg % 4 }} {{ 7 % -4 }} {{ -7.5 // 2 }} {{ -7.5 % 2 }} {{ 7.5 % -2 }} {{ -1 % 1.0 }}
{{ 1 ~ 2 * 3 ~ 4 }} {{ "a" + "b" ~ "c" }}
{{ -2 ** 2 }} {{ 2 ** 3 ** 2 }} {{ -n|abs }} {{ (-n)|abs }} {{ +n }} {{ - -n }} {{ -f }} {{ +t }} {{ -t }}
{{ 1 / 3 }} {{ 2 / 3 }} {{ 1e16 }} {{ 1e15 }} {{ 123456789012345678.0 }} {{ 0.0001 }} {{ 0.00001 }} {{ 1.0 }} {{ 1e300 * 1e10 }}
{{ tiny }} {{ large }} {{ whole }} {{ big }} {{ f }} {{ -0.0 }} {{ 0.1 + 0.2 }} {{ 100.0 }} {{ 1e22 }} {{ 1.5e-5 }}
{{ 1_000 }} {{ 0x1F }} {{ 0b101 }} {{ 0o17 }} {{ 1_0.5 }} {{ 1e3 }} {{ 0 }} {{ 00 }}
{{ t }} {{ none }} {{ true }} {{ True }} {{ false }} {{ None }} {{ t + 1 }} {{ t * 3 }} {{ True + True }}
{{ list }} {{ mixed }} {{ d }} {{ (1, 2) }} {{ (1,) }} {{ () }} {{ [] }} {{ {} }} {{ 1, 2 }}
{{ [quote, esc, html, u] }}
{{ {'a': 1, "b": [2], 3: none, none: 4} }}
{{ 'a' 'b' "c" }} {{ 'it\'s' }} {{ "q\"q" }} {{ 'a\nb\t\x41\u00e9\101\q' }}
{{ 'a' + 'b' ~ 1 ~ none ~ 2.0 ~ [1] }}
{{ 'ab' * 3 }} {{ 3 * 'ab' }} {{ [1] * 2 }} {{ 'x' * -1 }} {{ (1,) * 2 }}
{{ [1] + [2, 3] }} {{ (1,) + (2,) }}
{{ 1 == 1.0 }} {{ 1 == true }} {{ '1' == 1 }} {{ [1, 2] == [1, 2.0] }} {{ {'a': 1} == {'a': 1} }} {{ none == false }}
{{ 1 < 2 }} {{ 'a' < 'b' }} {{ [1, 2] < [1, 3] }} {{ 1 < 2 < 3 }} {{ 1 < 3 < 2 }} {{ 2 > 1 >= 1 }} {{ 1 != 2 }}
{{ 'a' in 'abc' }} {{ 'z' not in 'abc' }} {{ 1 in list }} {{ 'b' in d }} {{ 9 in (1, 2) }} {{ '' in 'abc' }}
{{ not true }} {{ not 0 }} {{ not not 1 }} {{ 1 and 2 }} {{ 0 and 2 }} {{ 0 or 'x' }} {{ 1 or 2 }} {{ none or blank or 'end' }}
{{ 'yes' if t else 'no' }} {{ 'yes' if blank else 'no' }} {{ 'yes' if blank }}| {{ 1 if 0 else 2 if 0 else 3 }}
{{ not 1 == 2 }} {{ not (1 in list) }} {{ 1 in list and not 5 in list }}
{{ s[0] }} {{ s[-1] }} {{ s[1:4] }} {{ s[:3] }} {{ s[-3:] }} {{ s[::-1] }} {{ s[::2] }} {{ s[8:2:-2] }} {{ s[100:] }}|{{ s[100] }}|
{{ u[0] }} {{ u[-1] }} {{ u[3:] }} {{ u[::-1] }} {{ u|length }} {{ u[-3:-1] }}
{{ list[0] }} {{ list[-1] }} {{ list[1:] }} {{ list[::-1] }} {{ list[5] }}| {{ list[:-1] }} {{ (1, 2, 3)[1:] }} {{ range(5)[1:3] }}
{{ list.0 }} {{ d.a[1].z }} {{ d['a'][0] }} {{ d.missing }}| {{ d['missing'] }}| {{ nested.items is callable }} {{ nested['items'] }}
{{ nested.x.y.z }} {{ nested['x'].y['z'] }} {{ nested.x.y.q }}|
{{ missing }}| {{ missing is defined }} {{ s is defined }} {{ missing|default('dflt') }} {{ none|default('x') }} {{ blank|default('x', true) }} {{ d.q|d(1) }}
{{ missing == missing2 }} {{ missing == none }} {{ not missing }} {{ missing|length }} {{ missing|list }} {{ 1 in missing }}
{% for m in messages %}{{ m.role }}:{{ m['content']|trim }};{% endfor %}
{% for x in list %}{{ loop.index }}{{ loop.index0 }}{{ loop.revindex }}{{ loop.revindex0 }}{{ loop.first }}{{ loop.last }}{{ loop.length }} {% endfor %}
{% for x in list %}{{ loop.previtem }}<{{ x }}>{{ loop.nextitem }}{{ loop.cycle('a', 'b') }}{{ loop.changed(x > 1) }} {% endfor %}
{% for k, v in d.items() %}{{ k }}={{ v }};{% endfor %}{% for k in d %}{{ k }}{% endfor %}{% for v in d.values() %}{{ v }}{% endfor %}
{% for c in 'añ世' %}[{{ c }}]{% endfor %}
{% for x in [] %}never{% else %}empty{% endfor %}{% for x in missing %}{% else %}none{% endfor %}
{% for x in list if x > 1 %}{{ loop.index }}:{{ x }} {% else %}no{% endfor %}
{% for x in list if x > 9 %}{{ x }}{% else %}no{% endfor %}
{% for a, b in [(1, 2), [3, 4]] %}{{ a }}-{{ b }} {% endfor %}{% for (a, b), c in [((1, 2), 3)] %}{{ a }}{{ b }}{{ c }}{% endfor %}
{% for i in range(3) %}{% for j in range(2) %}{{ i }}{{ j }}{{ loop.depth }} {% endfor %}{% endfor %}
{% for i in range(10) %}{% if i == 3 %}{% continue %}{% endif %}{% if i > 5 %}{% break %}{% endif %}{{ i }}{% endfor %}
{% for x in range(3) recursive %}{{ x }}{% if loop.depth < 3 %}({{ loop([x + 1]) }}){% endif %}{% endfor %}
{% for x in [1, [2, [3]]] recursive %}{% if x is iterable %}<{{ loop(x) }}>{% else %}{{ x }}:{{ loop.depth0 }}{% endif %}{% endfor %}
{{ range(5) }} {{ range(1, 5)|list }} {{ range(5, 0, -2)|list }} {{ range(0) }}{{ range(0, 10, 3) }} {{ range(9)[::-2] }} {{ range(1, 9, 2)[1:] }} {{ range(5)[4:1] }} {{ range(3)|length }}
{% set x = 1 %}{% for i in list %}{% set x = i %}{{ x }}{% endfor %}{{ x }}
{% set ns = namespace(x=1, y='a') %}{% for i in list %}{% set ns.x = ns.x + i %}{% endfor %}{{ ns.x }}{{ ns.y }}{{ ns.z }}
{% set ns = namespace() %}{% set ns.found = false %}{{ ns.found }}{{ ns.found is defined }}{{ ns.q is defined }}
{% set a, b = 1, 2 %}{{ a }}{{ b }}{% set a, b = [b, a] %}{{ a }}{{ b }}
{% set block %}  text {{ n }} {% endset %}[{{ block }}]{% set up | upper | trim %} up {% endset %}[{{ up }}]
{% if false %}{% set q = 1 %}{% endif %}{{ q is defined }}{% if true %}{% set q = 2 %}{% endif %}{{ q }}
{% if n > 10 %}big{% elif n > 5 %}mid{% else %}small{% endif %}{% if none %}x{% elif blank %}y{% endif %}
{% macro m(a, b=2, c=a) %}{{ a }}{{ b }}{{ c }}{% endmacro %}{{ m(1) }} {{ m(1, 3) }} {{ m(b=5, a=4) }} {{ m() }}|
{% macro rec(x) %}{{ x }}{% if x > 0 %},{{ rec(x - 1) }}{% endif %}{% endmacro %}{{ rec(4) }}
{% macro va(a) %}{{ a }}{{ varargs }}{{ kwargs }}{% endmacro %}{{ va(1, 2, 3, k=4) }}
{% macro wrap(tag) %}<{{ tag }}>{{ caller() }}</{{ tag }}>{% endmacro %}{% call wrap('b') %}bold {{ n }}{% endcall %}
{% macro each(xs) %}{% for x in xs %}{{ caller(x, loop.index) }}{% endfor %}{% endmacro %}{% call(x, i) each(list) %}{{ i }}={{ x }};{% endcall %}
{% macro late() %}{{ later }}{% endmacro %}{% set later = 'bound late' %}{{ late() }}
{% set outer = 1 %}{% macro scoped() %}{% set outer = 2 %}{{ outer }}{% endmacro %}{{ scoped() }}{{ outer }}
{% with a = 1, b = n %}{{ a }}{{ b }}{% endwith %}{{ a is defined }}
{% filter upper %}shout {{ s }}{% endfilter %} {% filter replace('a', 'b')|trim %} aaa {% endfilter %}
{% raw %}{{ not rendered }} {% if %}{% endraw %}{# a comment {{ x }} #}end
{% generation %}said{% endgeneration %}
{% print s %}{% print 1, 2 %}
{{ messages|tojson }}
{{ d|tojson }} {{ d|tojson(indent=2) }} {{ [1, [], {}]|tojson(indent=4) }} {{ d|tojson(sort_keys=true) }} {{ list|tojson(separators=(',', ':')) }}
{{ esc|tojson }} {{ u|tojson }} {{ u|tojson(ensure_ascii=true) }} {{ html|tojson }} {{ f|tojson }} {{ tiny|tojson }} {{ {1: 2, true: 3, none: 4, 1.5: 5}|tojson }}
{{ (1, 'a')|tojson }} {{ none|tojson }} {{ true|tojson }} {{ {'a': {'b': [1, 2]}}|tojson(indent='--') }} {{ d|tojson(indent=0) }}
{{ s|upper }} {{ s|lower }} {{ 'hello wORLD-foo (bar'|title }} {{ 'hELLO'|capitalize }} {{ u|upper }} {{ u|lower }} {{ u|title }} {{ u.title() }} {{ u.capitalize() }}
{{ spaces|trim }}| {{ 'xxaxx'|trim('x') }} {{ 'a'|center(5) }}| {{ 'ab'|center(5) }}| {{ 12|string + 'a' }} {{ 3.5|string }}
{{ 'aaa'|replace('a', 'b', 2) }} {{ 'aaa'|replace('', '-') }} {{ 5|replace(5, 6) }} {{ 'abc'|replace('b', '') }}
{{ list|join }} {{ list|join(', ') }} {{ people|join('/', attribute='name') }} {{ 'abc'|join('-') }} {{ mixed|join('|') }}
{{ lines|indent }}| {{ lines|indent(2, true) }}| {{ lines|indent(2, blank=true) }}| {{ lines|indent('> ') }}| {{ 'a\n'|indent(1) }}|
{{ list|first }} {{ list|last }} {{ 'abc'|first }} {{ 'abc'|last }} {{ []|first }}| {{ []|last }}| {{ d|first }} {{ list|length }} {{ d|count }} {{ u|length }}
{{ list|sort }} {{ list|sort(reverse=true) }} {{ words|sort }} {{ words|sort(case_sensitive=true) }} {{ people|sort(attribute='age')|map(attribute='name')|list }} {{ people|sort(attribute='age,name')|map(attribute='name')|join(',') }}
{{ list|min }} {{ list|max }} {{ words|min }} {{ words|max }} {{ list|sum }} {{ people|sum(attribute='age') }} {{ []|sum }} {{ people|max(attribute='age') }} {{ [1.5, 2]|sum(start=1) }}
{{ words|unique|list }} {{ [1, 1.0, true, 2]|unique|list }} {{ people|unique(attribute='age')|map(attribute='name')|list }}
{{ list|reverse|list }} {{ 'abc'|reverse }} {{ list|batch(2)|list }} {{ list|batch(2, 'x')|list }} {{ list|slice(2)|list }} {{ range(7)|slice(3, 'f')|list }}
{{ d|dictsort }} {{ d|dictsort(true) }} {{ {'x': 2, 'y': 1}|dictsort(by='value') }} {{ {'x': 2, 'y': 1}|dictsort(reverse=true) }}
{{ people|map(attribute='name')|list }} {{ people|map(attribute='x.y', default='-')|list }} {{ words|map('upper')|join }} {{ words|map('replace', 'a', 'z')|list }}
{{ people|selectattr('age', 'equalto', 30)|map(attribute='name')|list }} {{ people|selectattr('x')|list|length }} {{ people|rejectattr('age', 'gt', 20)|list|length }} {{ people|selectattr('x', 'defined')|list }}
{{ none|select|list }} {{ none|map('int')|list }} {{ 0|selectattr('x')|list }} {{ list|select('odd')|list }} {{ list|reject('odd')|list }} {{ mixed|select|list }} {{ mixed|select('string')|list }} {{ mixed|reject('none')|list }} {{ list|select('in', [1, 2])|list }}
{% if people|selectattr('age', 'equalto', 999) %}generators are true{% endif %}{% set g = list|map('string') %}{{ g|join }}{{ g|join }}|
{{ '42'|int }} {{ '4.9'|int }} {{ 'x'|int }} {{ 'x'|int(7) }} {{ ' 12 '|int }} {{ '0x1f'|int(base=16) }} {{ 3.99|int }} {{ none|int }} {{ true|int }} {{ '-5'|int }} {{ '1_000'|int }} {{ [1]|int }}
{{ '1.5'|float }} {{ 'x'|float }} {{ 2|float }} {{ '1e3'|float }} {{ none|float(1.0) }} {{ neg|abs }} {{ -2.5|abs }}
{{ 2.5|round }} {{ 3.5|round }} {{ 2.675|round(2) }} {{ 42|round }} {{ 42.7|round(0, 'floor') }} {{ 42.1|round(0, 'ceil') }} {{ 1234.5|round(-2) }} {{ 2.345|round(1, 'ceil') }} {{ 0.5|round }} {{ 1e20|round }}
{{ html|escape }} {{ html|e|safe }} {{ (html|safe) + '<' }} {{ '<' + (html|safe) }} {{ '<' ~ (html|safe) }} {{ (html|e)|e }} {{ (html|e)|forceescape }} {{ '<b>'|safe|upper }} {{ ('<i>'|safe) ~ '<' }} {{ [html|safe, '<']|join(',') }}
{{ '%s is %d years, %.2f, %5s|%-5s|%05d|%x|%r' % ('Bo', 30, 1.005, 'a', 'b', 42, 255, 'q') }} {{ '%s' % 5 }} {{ '%%' % () }} {{ '%(a)s' % {'a': 1} }} {{ '%s-%s'|format('a', 1) }} {{ '%s' % [1] }}
{{ '{} {}'.format(1, 'b') }} {{ '{1} {0}'.format('a', 'b') }} {{ '{x}{{}}'.format(x=2) }}
{{ s.upper() }} {{ s.lower() }} {{ s.split() }} {{ s.split('o') }} {{ s.split('o', 1) }} {{ s.rsplit('o', 1) }} {{ ' a  b '.split() }} {{ ' a  b c'.split(none, 1) }} {{ 'a,b,,c'.split(',') }} {{ ' a b  c '.rsplit(maxsplit=1) }} {{ ''.split() }} {{ ''.split(',') }} {{ '  a  b  '.split(none, 1) }}| {{ '  a  b  '.rsplit(none, 1) }}|
{{ spaces.strip() }}| {{ spaces.lstrip() }}| {{ spaces.rstrip() }}| {{ 'xyaxy'.strip('xy') }} {{ 'aab'.lstrip('a') }} {{ 'a\n\n'.rstrip('\n') }}| {{ '\u3000a\u00a0'.strip() }}|
{{ s.startswith('He') }} {{ s.endswith('ld') }} {{ s.startswith(('x', 'H')) }} {{ s.startswith('W', 6) }} {{ s.endswith('o', 0, 5) }} {{ s.find('o') }} {{ s.rfind('o') }} {{ s.find('z') }} {{ s.index('W') }} {{ s.count('l') }} {{ 'aaa'.count('') }} {{ u.find('世') }} {{ s.startswith('', 99) }}
{{ s.replace('l', 'L') }} {{ s.replace('l', 'L', 1) }} {{ s.title() }} {{ s.capitalize() }} {{ "they're bill's".title() }} {{ 'a-b c'.title() }} {{ 'ABC'.islower() }} {{ 'ABC'.isupper() }} {{ '12'.isdigit() }} {{ 'a1'.isalnum() }} {{ ''.isdigit() }} {{ ' '.isspace() }} {{ 'äb'.isalpha() }}
{{ 'a=b=c'.partition('=') }} {{ 'a=b=c'.rpartition('=') }} {{ 'abc'.partition('x') }} {{ 'abc'.rpartition('x') }} {{ 'prefix-a'.removeprefix('prefix-') }} {{ 'a.txt'.removesuffix('.txt') }} {{ '-'.join(['a', 'b']) }} {{ 'a'.ljust(3) }}| {{ 'a'.rjust(3, '.') }} {{ 'a'.center(4, '*') }} {{ '-5'.zfill(4) }} {{ '5'.zfill(3) }} {{ lines.splitlines() }} {{ 'a\r\nb\rc\n'.splitlines(true) }}
{{ d.get('b') }} {{ d.get('q') }} {{ d.get('q', 5) }} {{ d.keys()|list }} {{ d.values()|list }} {{ d.items()|list }} {{ d.copy() == d }} {{ d.keys()|length }} {{ d|items|list }} {{ dict(a=1, b=2) }} {{ dict([('x', 1)], y=2) }} {{ dict(d, b=9).b }}
{{ list.index(1) }} {{ list.count(3) }} {{ list.copy() }} {{ (1, 2).index(2) }}
{{ 1 is number }} {{ '1' is number }} {{ true is number }} {{ 1 is integer }} {{ true is integer }} {{ 1.0 is float }} {{ true is boolean }} {{ 's' is string }} {{ d is mapping }} {{ list is mapping }} {{ none is none }} {{ missing is none }} {{ missing is undefined }}
{{ list is iterable }} {{ 's' is iterable }} {{ 1 is iterable }} {{ list is sequence }} {{ d is sequence }} {{ 's' is sequence }} {{ d.items() is sequence }} {{ list|map('int') is sequence }} {{ (1, 2) is sequence }} {{ missing is iterable }} {{ range is callable }} {{ s is callable }}
{{ 3 is odd }} {{ 3 is even }} {{ 9 is divisibleby 3 }} {{ 9 is divisibleby(4) }} {{ 1 is sameas 1 }} {{ true is sameas true }} {{ 1 is sameas true }} {{ 'abc' is lower }} {{ 'ABC' is upper }} {{ 1 is in [1] }} {{ 1 is eq 1 }} {{ 2 is gt 1 }} {{ 1 is not none }} {{ 1 is ne(2) }} {{ 'upper' is filter }} {{ 'zzz' is filter }} {{ 'odd' is test }} {{ true is true }} {{ 1 is true }} {{ 0 is false }}
{{ s is string and n is number or missing }} {{ 'x' if missing is not defined else 'y' }} {{ (missing is defined and missing) or 'z' }}
{{ strftime_now('%Y-%m-%d %H:%M:%S %B %b %A %a %j %p %I %y %-d %-m %e|%% %U %W %w %V %G %u %F %T %D') }}
{{ messages[0].content.strip() if messages[0].role == 'system' else '' }}{{ messages[1:]|length }}{{ messages[-1]['content'] }}
{% for m in messages if m.role == 'user' %}{{ loop.index }}{{ m.content[:5] }}{% if not loop.last %},{% endif %}{% endfor %}
{{ messages|selectattr('role', 'equalto', 'user')|map(attribute='content')|join('|') }}
{{ ('a' if true else 'b') ~ 'c' }} {{ [1, 2, 3,] }} {{ {'a': 1,} }} {{ (1, 2,) }} {{ range(3,)|list }}
{{ none is none and not none }} {{ 5 if not none }} {{ [none, true, false] }} {{ 'None' ~ none }}
{{ 'a' < 'B' }} {{ 'Z' < 'a' }} {{ 'é' > 'z' }} {{ [1, 'a'] == (1, 'a') }} {{ (1, 2) < (1, 3) }} {{ 0.1 + 0.2 == 0.3 }} {{ 1 == 1 == 1 }} {{ nan is defined }}
{{ "a" "b"|upper }} {{ ("a" ~ "b")|upper }} {{ 1 + '5'|int }} {{ 'a,b'.split(',')[1] }} {{ 'x'.upper().lower()|upper }} {{ s.split(' ')|map('first')|join }} {{ d.a[1]['z'][0] }}
{{ loop is defined }} {{ varargs is defined }} {{ caller is defined }}
{% set x %}a{% endset %}{{ x is string }}{{ x is escaped }} {% set q = [] %}{% set q = q + [1] %}{{ q }} {% set m = {'a': 1} %}{% set m = dict(m, b=2) %}{{ m }}
{{ "\u00e9\t\\" }} {{ '\\n' }} {{ 'a
b' }}
{{ people[0]['name'].lower() ~ '-' ~ people[-1].name }} {{ people|map(attribute='age')|unique|list }} {{ people[1:]|first }}
{% for k, v in {'x': {'y': [1, 2]}}.items() recursive %}{{ k }}{% endfor %}{% for k, v in d|dictsort %}{{ k }}{% endfor %}{% for i, c in [('a', 1)] %}{{ i }}{{ c }}{% endfor %}
{{ 10 ** 18 }} {{ 9223372036854775807 }} {{ -9223372036854775807 }} {{ 2 ** 62 }} {{ 7 // -2 }} {{ -7 // -2 }} {{ 0 // 5 }} {{ 5.0 // 2 }} {{ 1 // 0.3 }}
{{ words|sort(attribute='x') }} {{ words|sort(attribute='x,y') }} {{ [[2], [1, 5], [1]]|sort }} {{ [1, 2.5, true]|sort }}
{{ 'ß'.upper() }} {{ 'ǆ'.title() }} {{ 'ΑΒΓ'.lower() }} {{ 'мир'.upper() }} {{ 'I'.lower() }} {{ 'ŉ'|upper }} {{ 'ﬀ'.capitalize() }}
"""

# White space: each is one template, whatever lines it has.
SPACES = [
    "a\n{% if true %}\nb\n{% endif %}\nc\n",
    "a\n  {% if true %}\n  b\n  {% endif %}\n  c",
    "a\n  {%- if true %}\n  b\n  {%- endif %}\n  c",
    "a\n  {% if true -%}\n  b\n  {% endif -%}\n  c",
    "a\n  {%+ if true %}\n  b\n  {%+ endif %}\n  c",
    "a\n  {% if true +%}\n  b\n  {% endif +%}\n  c",
    "a  {{- 1 -}}  b\n\n{{ 2 }}\n\nc",
    "a \n {{- 1 }} \n b {{ 2 -}} \n c",
    "  {{ 1 }}\n  {{+ 2 }}",
    "a\n  {# c #}\n  b {# d #} \n e",
    "a\n  {#- c -#}\n  b {#+ d +#}\n e",
    "x {# multi\nline #}\n y",
    "a\n {% raw %}\n {{ x }}\n {% endraw %}\n b",
    "a\n {%- raw -%}\n {{ x }}\n {%- endraw -%}\n b",
    "\n\n{{ 1 }}\n\n\n",
    "{{ 1 }}\n",
    "{{ 1 }}\r\n{{ 2 }}\r{{ 3 }}\r\n",
    "\t{% if true %}\tx\t{% endif %}\t\n",
    "{% for i in range(3) %}\n{{ i }}\n{% endfor %}\nend",
    "{% for i in range(3) -%}\n{{ i }}\n{%- endfor %}\nend",
    "{%- for i in range(2) %}\n    {{- i }}\n\n{%- endfor %}",
    "a{% set x = 1 %}\n\n{{ x }}{% set y = 2 -%}\n\n{{ y }}",
    "text {% if true %} x {% endif %} more\n {% if true %}{% endif %} tail",
    "{% if true %}\n\n\nx{% endif %}",
    " \n \t{% if true %}x{% endif %}",
    "a\u00a0{%- if true %}x{% endif -%}\u3000b",
    "{{ '{{' }} }} %} #} { % {",
    "{{ {'a': {'b': 1}}['a']['b'] }}{{ {'a':{}} }}",
    "{%if true%}x{%endif%}{{1}}{%- if true -%} y {%- endif -%}",
    "{% if true %}a{% endif %}\n{% if true %}b{% endif %}\n\n{% if true %}c{% endif %}",
    "{#-#}x{##}y",
    "{{ 1 }}{# c #}\n{{ 2 }}\n{# d #}\n{{ 3 }}",
    "{% macro m() %}\n  in\n{% endmacro %}\n[{{ m() }}]",
    "{% set x %}\n  in\n{% endset %}\n[{{ x }}]",
    "",
    "\n",
    "plain text only\n\n",
]

# Each must be refused.
ERRORS = r"""
{{ missing.attribute }}
{{ missing['item'] }}
{{ missing + 1 }}
{{ missing() }}
{{ d.missing.more }}
{{ missing < 1 }}
{{ -missing }}
{{ 1 + 'a' }}
{{ 'a' + 1 }}
{{ [1] + (2,) }}
{{ none + 1 }}
{{ 1 < 'a' }}
{{ none < 1 }}
{{ 1 / 0 }}
{{ 1 // 0 }}
{{ 1 % 0 }}
{{ 1.5 % 0 }}
{{ 1 in 5 }}
{{ 1 in 'abc' }}
{{ 5|length }}
{{ none|length }}
{{ list|map('string')|length }}
{% for x in 5 %}{% endfor %}
{% for x in none %}{% endfor %}
{% for a, b in [1] %}{% endfor %}
{% for a, b in [(1, 2, 3)] %}{% endfor %}
{% set a, b = 1 %}
{{ list.append(4) }}
{{ d.update({'x': 1}) }}
{{ d.pop('b') }}
{{ list.sort() }}
{{ d.clear() }}
{{ d.setdefault('q', 1) }}
{{ s.__class__.__mro__ }}
{{ ''.__class__() }}
{% set ns = namespace() %}{% set ns.__x__ = 1 %}
{% set ns = namespace(_x=1) %}
{% set d.x = 1 %}
{% set missing.x = 1 %}
{{ raise_exception('no system role') }}
{% if %}x{% endif %}
{% if true %}x
{% for %}{% endfor %}
{% for x in list %}
{% endif %}
{% unknown %}
{{ 1 + }}
{{ (1 }}
{{ [1, 2 }}
{{ 1 2 }}
{{ 'abc }}
{{ a.b. }}
{{ }}
{% set = 1 %}
{% set 1 = 2 %}
{% break %}
{% macro m(a %}{% endmacro %}
{% macro m(a=1, b) %}{% endmacro %}
{# never closed
{% raw %}never closed
{{ s[0
{{ 1 is odd is even }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, 2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(b=2) }}
{% macro m(a) %}{{ a }}{% endmacro %}{{ m(1, a=2) }}
{{ range(1000000) }}
{{ range(1, 2, 0) }}
{{ range('a') }}
{{ missing|tojson }}
{{ s.upper(1) }}
{{ s.split('') }}
{{ s.index('zzz') }}
{{ s.startswith(1) }}
{{ 'a'.join([1]) }}
{{ s() }}
{{ 5() }}
{{ mixed|sort }}
{{ {[1]: 2} }}
{{ '%d' % 'a' }}
{{ '%s %s' % 1 }}
{{ '%s' % (1, 2) }}
{{ s|nosuchfilter }}
{{ s is nosuchtest }}
{{ s[::0] }}
{{ 'x'|indent(foo=1) }}
{{ list|join(1, 2, 3) }}
{{ people|selectattr|list }}
{{ list|map|list }}
{{ d|dictsort(by='nothing') }}
{{ 'x'|round }}
{% call s() %}{% endcall %}
{{ 1 if }}
{{ not }}
{% include 'x' %}
{% extends 'x' %}
{% import 'x' as y %}
{% do 1 %}
{{ loop.index }}
{% else %}
{{ x = 1 }}
{{ f(a=1, 2) }}
{{ messages[0].content.foo() }}
{{ lines|indent(width='a', first=1, blank=2, extra=3) }}
"""
