/** How text is drawn: what the place it goes to can show. */
export interface Terminal {
  /** Box drawing and arrows; without: ASCII. */
  unicode: boolean;
  colour: boolean;
  /** Columns to lay out for. */
  columns: number;
}

export const PLAIN: Terminal = { unicode: false, colour: false, columns: 80 };

/** Unicode when the locale says UTF-8, colours on a terminal unless NO_COLOR is set (no-color.org). */
export function terminalOf(
  stream: { isTTY?: boolean; columns?: number },
  environment: Readonly<Record<string, string | undefined>>,
): Terminal {
  const { LC_ALL, LC_CTYPE, LANG, NO_COLOR, TERM } = environment;
  const tty = stream.isTTY === true;
  return {
    unicode: /utf-?8/i.test(LC_ALL || LC_CTYPE || LANG || ''),
    colour: tty && (NO_COLOR ?? '') === '' && TERM !== 'dumb',
    columns: tty ? Math.min(Math.max(stream.columns ?? 80, 60), 160) : 80,
  };
}

export type Colour = 'red' | 'green' | 'yellow' | 'bold' | 'dim';

const CODES: Record<Colour, number> = { red: 31, green: 32, yellow: 33, bold: 1, dim: 2 };

export function paint(terminal: Terminal, colour: Colour | undefined, text: string): string {
  return terminal.colour && colour !== undefined ? `\x1b[${CODES[colour]}m${text}\x1b[0m` : text;
}

/** What a terminal would obey instead of showing it: control characters, and those that turn the direction of writing. */
const STEERING = /[\p{Cc}\u061c\u200e\u200f\u2028\u2029\u202a-\u202e\u2066-\u2069]/gu;

/** Text of a peer or a user on its way to a terminal: control characters become visible, ASCII where nothing else shows. */
export function printable(terminal: Terminal, text: string): string {
  const plain = text.replace(STEERING, (character) => {
    const code = character.charCodeAt(0);
    return code < 0x100 ? `\\x${hex(code, 2)}` : `\\u${hex(code, 4)}`;
  });
  return terminal.unicode ? plain : plain.replaceAll('…', '..').replace(/[^\x20-\x7e]/gu, '?');
}

/** A document for programs as one line. JSON leaves the C1 control characters as they are, and a terminal obeys these too. */
export function jsonLine(document: unknown): string {
  const escaped = (character: string) => `\\u${hex(character.charCodeAt(0), 4)}`;
  return `${JSON.stringify(document).replace(STEERING, escaped)}\n`;
}

const hex = (code: number, digits: number) => code.toString(16).padStart(digits, '0');

/** Lines of at most `width` columns, broken at blanks, and within a word that is longer unless that is to stay `whole`. */
export function wrap(text: string, width: number, whole = false): string[] {
  const lines: string[] = [];
  const words = text.split(' ').flatMap((word) => (whole ? word : pieces(word, width)));
  for (const word of words) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}

function pieces(word: string, width: number): string[] {
  if (word.length <= width) return [word];
  const characters = [...word];
  const count = Math.ceil(characters.length / width);
  return Array.from({ length: count }, (_, i) => characters.slice(i * width, (i + 1) * width).join(''));
}
