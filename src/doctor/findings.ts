/** What doctor says of each thing that it looked at. */

export type Result = 'ok' | 'info' | 'warning' | 'problem' | 'unknown';

/** What puts it right: commands to be pasted as they are, or what is to be done otherwise. */
export type Mend = { run: string } | { do: string };

export interface Finding {
  name: string;
  /** Empty: the host. */
  link: string;
  result: Result;
  /** One line: what was found. */
  text: string;
  /** One line: why it matters, where that is not obvious. */
  why?: string;
  mend?: Mend;
}

interface More {
  why?: string;
  mend?: Mend;
}

/** The findings of one check on one link. */
export class Check {
  readonly #name: string;
  readonly #link: string;

  constructor(name: string, link = '') {
    this.#name = name;
    this.#link = link;
  }

  ok(text: string): Finding {
    return this.#found('ok', text);
  }

  info(text: string, more?: More): Finding {
    return this.#found('info', text, more);
  }

  warning(text: string, more?: More): Finding {
    return this.#found('warning', text, more);
  }

  problem(text: string, more?: More): Finding {
    return this.#found('problem', text, more);
  }

  unknown(text: string, more?: More): Finding {
    return this.#found('unknown', text, more);
  }

  #found(result: Result, text: string, more: More = {}): Finding {
    return { name: this.#name, link: this.#link, result, text, ...more };
  }
}

/** Characters of a foreign name that are shown. */
const NAME_MAX = 64;

/**
 * What a neighbour, a process or a file is called, in a sentence. Whoever chose it may have chosen blanks and words that read as ours:
 * all but a plain name is put between quotation marks.
 */
export function named(name: string): string {
  const characters = [...name.slice(0, 4 * NAME_MAX).replace(BLANKS, ' ')];
  const cut =
    characters.length > NAME_MAX ? `${characters.slice(0, NAME_MAX).join('')}…` : characters.join('');
  return /^[\w@%+=:,./…-]+$/.test(cut) ? cut : `"${cut.replaceAll('"', "'")}"`;
}

/** What shows nothing: one blank in place of many that would lay out lines of their own. */
const BLANKS = /[\s\p{Z}\p{Default_Ignorable_Code_Point}\u2800]+/gu;

/** `a, b and 2 more` */
export function listed(words: readonly string[], most = 4): string {
  if (words.length <= most) return words.join(', ');
  return `${words.slice(0, most).join(', ')} and ${words.length - most} more`;
}

/** `1 slave`, `2 slaves` */
export function counted(count: number, noun: string): string {
  return `${count} ${noun}${count === 1 ? '' : 's'}`;
}
