/** `evbctl doctor`: gathers, judges, reports. Needs no daemon. */

import { type Command, integerOf, UsageError } from '../cli/arguments.ts';
import type { Print } from '../cli/capture.ts';
import { jsonLine, type Terminal } from '../cli/terminal.ts';
import { gather } from './gather.ts';
import { judge } from './judge.ts';
import { reportDocument, reportText } from './report.ts';

const LISTEN_MAX = 3600;

/** Resolves to the exit code: 1 where there is a problem. */
export async function doctor(
  { positionals, values, bus, json }: Extract<Command, { positionals: string[] }>,
  print: Print,
  terminal: Terminal,
): Promise<number> {
  const [only] = positionals;
  const listen = integerOf('--listen', values['listen'], 1, LISTEN_MAX) ?? 0;
  const { config: file } = values;
  const facts = await gather({
    bus,
    listen,
    ...(file === undefined ? {} : { file }),
    ...(only === undefined ? {} : { only }),
  });
  if (only !== undefined && facts.links.length === 0)
    throw new UsageError(`there is no link ${only}, neither configured nor in the kernel`);
  const findings = judge(facts);
  await print(
    json ? jsonLine(reportDocument(findings)) : reportText(findings, 'verbose' in values, terminal),
  );
  return findings.some(({ result }) => result === 'problem') ? 1 : 0;
}
