#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Makes tests/golden/chat_templates.json: chat templates of the usual families and what transformers renders them to
(add_generation_prompt, no tools; null where the template raises). Run with: transformers 5.23.0, jinja2 3.1.6.
"""
import json
import pathlib

import transformers
from transformers.utils.chat_template_utils import _compile_jinja_template

TEMPLATES = {
    "chatml": "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "smollm2": "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\\n' }}{% endif %}{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}",
    "llama2": "{% if messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}",
    "llama3": "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}{{ '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}{% endif %}",
    "mistral": "{{ bos_token }}{% for message in messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if message['role'] == 'user' %}{{ '[INST] ' + message['content'] + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ message['content'] + eos_token}}{% else %}{{ raise_exception('Only user and assistant roles are supported!') }}{% endif %}{% endfor %}",
    "zephyr": "{% for message in messages %}\n{% if message['role'] == 'user' %}\n{{ '<|user|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'system' %}\n{{ '<|system|>\n' + message['content'] + eos_token }}\n{% elif message['role'] == 'assistant' %}\n{{ '<|assistant|>\n'  + message['content'] + eos_token }}\n{% endif %}\n{% if loop.last and add_generation_prompt %}\n{{ '<|assistant|>' }}\n{% endif %}\n{% endfor %}",
    # Written to touch the rest of what is supported.
    "rules": """{#- a comment -#}
{%- set ns = namespace(count=0, last='none') %}
{%- if not tools is defined or tools is none %}{% set tools = [] %}{% endif %}
{%- macro unused(x) %}{{ x | tojson }}{% endmacro %}
    {% for message in messages if message.content %}
        {%- set ns.count = ns.count + 1 %}
        {%- if loop.first %}FIRST {% elif loop.last %}LAST {% else %}MID {% endif %}
  {{- loop.index ~ '/' ~ loop.length }} {{ message.role | upper }}: {{ message['content'] | trim | replace('a', 'A') }}
        {%- if '\\n' in message.content and not message.content.startswith(' ') %} [{{ message.content.split('\\n')[-1] }}]{% endif %}
  {%+ if true %} kept {% endif +%}
        {%- set ns.last = message.role %}
    {% else %}
empty
    {% endfor %}
{{ ns.count }}-{{ ns.last }} {{ messages[::-1][0]['role'] }} {{ messages | length - 1 }} {{ 7 // 2 }} {{ -7 % 3 }}
{%- for a, b in {'x': 1, 'y': [1, 2]}.items() %} {{ a }}={{ b if b is number else b | join('+') }}{% endfor %}
{%- for i in range(5) %}{% if i == 1 %}{% continue %}{% elif i == 3 %}{% break %}{% endif %} {{ i }}{% endfor %}
{{ (messages | selectattr('role', 'equalto', 'user') | list | length) }} {{ missing | default('gone') }} {{ 'abc'[1:] ~ 'abc'[-1] }} {{ none }} {{ not false }}
""",
}

CONVERSATIONS = [
    [],
    [("user", "Hello there")],
    [("system", "Be brief."), ("user", "Hi\n")],
    [("user", " What is 2+2? "), ("assistant", "Four.\n"), ("user", "Sure?\nReally?")],
    [("system", "S"), ("user", "a"), ("assistant", "b"), ("user", "c")],
    [("user", "Привет 你好 😀"), ("assistant", "नमस्ते"), ("user", "x\n\ny")],
    [("assistant", "out of order"), ("user", "y")],
]


def render(template, conversation):
    messages = [{"role": role, "content": content} for role, content in conversation]
    try:
        return _compile_jinja_template(template).render(
            messages=messages, tools=None, documents=None, add_generation_prompt=True, bos_token="<s>", eos_token="</s>")
    except Exception:
        return None


def main():
    made = {name: {"template": text, "rendered": [render(text, c) for c in CONVERSATIONS]} for name, text in TEMPLATES.items()}
    out = {"package": f"transformers {transformers.__version__}", "conversations": CONVERSATIONS, "templates": made}
    path = pathlib.Path(__file__).parent / "chat_templates.json"
    path.write_text(json.dumps(out, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
