/** Findings for people: what is wrong first, what is right as a number. */

import { type Colour, paint, printable, type Terminal, wrap } from '../cli/terminal.ts';
import { counted, type Finding, type Result } from './findings.ts';

/** In the order in which they are shown. */
const RESULTS: readonly Result[] = ['problem', 'warning', 'unknown', 'info', 'ok'];
const COLOURS: Readonly<Record<Result, Colour>> = {
  problem: 'red',
  warning: 'yellow',
  unknown: 'yellow',
  info: 'dim',
  ok: 'green',
};
/** Columns of the result in front. */
const RESULT = 9;

export function reportText(findings: readonly Finding[], verbose: boolean, terminal: Terminal): string {
  const of = (result: Result) => findings.filter((finding) => finding.result === result);
  const shown = RESULTS.filter((result) => verbose || result !== 'ok').flatMap(of);
  const blocks = shown.map((finding) => findingText(finding, terminal));
  const counts = RESULTS.filter((result) => of(result).length > 0).map((result) => {
    const count = of(result).length;
    return result === 'problem' || result === 'warning' ? counted(count, result) : `${count} ${result}`;
  });
  const hint = !verbose && of('ok').length > 0 ? ' (--verbose shows all)' : '';
  return `${[...blocks, ''].join('')}${counts.join(', ')}${hint}\n`;
}

function findingText({ link, result, text, why, mend }: Finding, terminal: Terminal): string {
  const width = terminal.columns - RESULT;
  const shown = (words: string) => printable(terminal, words);
  const indented = (words: string, first = ' '.repeat(RESULT)) =>
    prose(terminal, shown(words), width).map((line, i) => `${i === 0 ? first : ' '.repeat(RESULT)}${line}\n`);
  const head = paint(terminal, COLOURS[result], result) + ' '.repeat(RESULT - result.length);
  const lines = indented(link === '' ? text : `${link}: ${text}`, head);
  if (why !== undefined) lines.push(...indented(`${why}`));
  // A command is pasted: it stays on one line, however long that is.
  if (mend !== undefined && 'run' in mend) lines.push(`${' '.repeat(RESULT)}$ ${shown(mend.run)}\n`);
  else if (mend !== undefined) lines.push(...indented(`mend: ${mend.do}`));
  return lines.join('');
}

/** Wrapped, and no line of it to be taken for a command: the words may be a neighbour's, who knows where they break. */
function prose(terminal: Terminal, words: string, width: number): string[] {
  const mark = terminal.unicode ? '· ' : '. ';
  const lines = wrap(words, width);
  if (!lines.some(looksPasteable)) return lines;
  return wrap(words, width - mark.length).map((line) => (looksPasteable(line) ? mark + line : line));
}

/** Nothing to be seen, and then a dollar sign or another currency's, which may look like one. */
function looksPasteable(line: string): boolean {
  return /^[^\p{L}\p{N}\p{P}]*?\p{Sc}/u.test(line.replace(/\p{Default_Ignorable_Code_Point}/gu, ''));
}

export interface CheckDocument {
  name: string;
  link: string;
  result: Result;
  text: string;
  why?: string;
  mend: string;
}

export function reportDocument(findings: readonly Finding[]): { checks: CheckDocument[] } {
  return {
    checks: findings.map(({ name, link, result, text, why, mend }) => ({
      name,
      link,
      result,
      text,
      ...(why === undefined ? {} : { why }),
      mend: mend === undefined ? '' : 'run' in mend ? mend.run : mend.do,
    })),
  };
}
