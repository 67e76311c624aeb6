#!/usr/bin/env python3
"""A chat in the terminal: one session, answers as they come. Usage: chat.py MODEL.gguf"""

import sys

import tessera


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    messages = []
    with tessera.Model(sys.argv[1]) as model, model.engine() as engine, engine.session() as session:
        while True:
            try:
                messages.append({"role": "user", "content": input("> ")})
            except (EOFError, KeyboardInterrupt):
                print()
                return 0
            # The whole conversation again: what the session knows of it already is not computed again.
            session.rewind(0)
            session.append_chat(messages)
            answer = ""
            with session.generate(max_tokens=200) as generation:
                try:
                    for chunk in generation:
                        print(chunk, end="", flush=True)
                        answer += chunk.text
                except KeyboardInterrupt:  # ends this answer alone
                    pass
            messages.append({"role": "assistant", "content": answer})
            print()


if __name__ == "__main__":
    try:
        sys.exit(main())
    except tessera.TesseraError as error:
        sys.exit("%s: %s" % (error.code.name, error))
