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

/** Text of a peer or a user on its way to a terminal: control characters cannot steer it, ASCII where nothing else shows. */
export function printable(terminal: Terminal, text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is taken out
  const plain = text.replace(/[\u0000-\u001f\u007f-\u009f\u2028\u2029\u202a-\u202e\u2066-\u2069]/g, '?');
  return terminal.unicode ? plain : plain.replaceAll('…', '..').replace(/[^\x20-\x7e]/gu, '?');
}

/** Lines of at most `width` columns, broken at blanks; a longer word stays whole. */
export function wrap(text: string, width: number): string[] {
  const lines: string[] = [];
  for (const word of text.split(' ')) {
    const last = lines.at(-1);
    if (last !== undefined && last.length + 1 + word.length <= width)
      lines[lines.length - 1] = `${last} ${word}`;
    else lines.push(word);
  }
  return lines;
}
