/** `npm run fuzz`: the command line of fuzz.ts. */

import { writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import process from 'node:process';
import { parseArgs } from 'node:util';
import { pcapFileHeader, pcapRecord } from '../../src/cli/pcap.ts';
import type { DialectName } from '../../src/model.ts';
import { type FuzzResult, fuzz, megabytes } from './fuzz.ts';
import type { TargetRole } from './pair.ts';

const USAGE = `usage: npm run fuzz -- [OPTION]...

Sends mutated LLDP, ECP and draft ECP frames to a running evbd, whose VSIs a
second evbd keeps: it must answer, keep them, and stay small. Needs no root.

  --frames N     frames per role and dialect (default 100000)
  --seed S       the same frames again (default: drawn, and told)
  --role ROLE    station, bridge or both (default both)
  --dialect NAME ratified, draft or both: what the pair speaks (default both)
  --json         one JSON document, nothing else on standard output
  --help         this text

Exit status: 0 when all held, 1 when something did not, 2 for a wrong option.
`;

export async function main(args: readonly string[]): Promise<number> {
  let values: {
    frames?: string;
    seed?: string;
    role?: string;
    dialect?: string;
    json?: boolean;
    help?: boolean;
  };
  try {
    ({ values } = parseArgs({
      args: [...args],
      options: {
        frames: { type: 'string' },
        seed: { type: 'string' },
        role: { type: 'string' },
        dialect: { type: 'string' },
        json: { type: 'boolean' },
        help: { type: 'boolean', short: 'h' },
      },
    }));
  } catch (error) {
    return wrong((error as Error).message.split('. ')[0]!);
  }
  if (values.help) {
    process.stdout.write(USAGE);
    return 0;
  }
  const { frames = '100000', seed, role = 'both', dialect = 'both', json = false } = values;
  if (!/^[1-9]\d{0,8}$/.test(frames)) return wrong(`--frames ${frames}: give a whole number`);
  if (seed !== undefined && !/^\d{1,9}$/.test(seed)) return wrong(`--seed ${seed}: give a whole number`);
  if (!['station', 'bridge', 'both'].includes(role)) return wrong(`--role ${role}: station, bridge or both`);
  if (!['ratified', 'draft', 'both'].includes(dialect))
    return wrong(`--dialect ${dialect}: ratified, draft or both`);
  const dialects = (dialect === 'both' ? ['ratified', 'draft'] : [dialect]) as DialectName[];
  const roles = (role === 'both' ? ['station', 'bridge'] : [role]) as TargetRole[];
  const drawn = seed === undefined ? Math.floor(Math.random() * 1e9) : Number(seed);
  const tell = (line: string) => (json ? process.stderr : process.stdout).write(`${line}\n`);
  const results: FuzzResult[] = [];
  for (const dialect of dialects) {
    for (const role of roles) {
      tell(`${role}, ${dialect}: ${frames} frames, seed ${drawn}`);
      const result = await fuzz({ role, dialect, frames: Number(frames), seed: drawn, tell });
      results.push(result);
      report(result, tell);
    }
  }
  const ok = results.every(({ failures }) => failures.length === 0);
  if (json) {
    const plain = results.map(({ lastFrames, ...result }) => ({
      ...result,
      lastFrames: lastFrames.map((octets) => Buffer.from(octets).toString('hex')),
    }));
    process.stdout.write(`${JSON.stringify({ ok, seed: drawn, roles: plain })}\n`);
  }
  return ok ? 0 : 1;
}

function wrong(message: string): number {
  process.stderr.write(`evbd fuzz: ${message}; see npm run fuzz -- --help\n`);
  return 2;
}

function report(result: FuzzResult, tell: (line: string) => void): void {
  const { frames, counters, memory } = result;
  const percent = (count: number) => `${((100 * count) / frames).toFixed(2)} %`;
  const of = (key: string) => counters[key] ?? 0;
  tell(`  ${frames} frames in ${result.seconds.toFixed(0)} s, ${result.framesPerSecond.toFixed(0)} a second`);
  tell(`  got to the daemon      ${percent(result.handled).padStart(9)}`);
  tell(`  dropped by the rate    ${percent(result.droppedByRate).padStart(9)}`);
  tell(`  lost before the daemon ${percent(result.lostOnTheWay).padStart(9)}`);
  tell('  of all frames received:');
  const rows: [string, number][] = [
    ['LLDPDUs read', of('statsFramesInTotal')],
    ['  discarded', of('statsFramesDiscardedTotal')],
    ['ECP requests taken', of('rxFrameCount')],
    ['  again', of('rxDuplicates')],
    ['ECP malformed', of('ecpMalformed')],
    ['VDP malformed', of('vdpMalformed')],
    ['ECP of strangers', of('ecpForeign')],
    ['not for us', of('otherFrames')],
    ['tagged', of('framesTagged')],
    ['own echoes', of('framesOwnEchoed')],
  ];
  for (const [what, count] of rows) tell(`    ${what.padEnd(20)} ${String(count).padStart(8)}`);
  tell(
    `  VSIs: ${result.disturbed} times out of force when looked at, ${result.refused} times refused, ` +
      `back after ${result.secondsToRecover.toFixed(1)} s`,
  );
  tell(
    `  memory: ${megabytes(memory.warm)} warm, ${megabytes(memory.peak)} at most, ${megabytes(memory.end)} at the end`,
  );
  tell(`  slowest answer over D-Bus ${Math.ceil(result.slowestAnswer)} ms; ${result.logLines} log lines`);
  for (const failure of result.failures.slice(0, 20)) tell(`  FAILED: ${failure.slice(0, 400)}`);
  if (result.lastFrames.length === 0) return;
  const file = join(tmpdir(), `evbd-fuzz-${result.role}-${result.dialect}-${result.seed}.pcap`);
  writeFileSync(
    file,
    Buffer.concat([pcapFileHeader(), ...result.lastFrames.map((octets, i) => pcapRecord(i / 1e6, octets))]),
  );
  tell(`  the last ${result.lastFrames.length} frames: npx evbctl decode ${file}`);
  const which = `--role ${result.role} --dialect ${result.dialect}`;
  tell(`  again: npm run fuzz -- --frames ${result.asked} --seed ${result.seed} ${which}`);
}
