/**
 * Each row of the tables of the reference that say what the machines do and what is accepted has a test that names it:
 * `vdp.md 4 row 7 WAIT_STATION_CMD: ...`, counted from 1, with the name where the row has one. `npm run mutate` shows that
 * such a test fails when the row is altered.
 */
import fs from 'node:fs';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, test } from 'vitest';

const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '..');
const TESTED_IN = ['octets', 'lldp', 'evb', 'ecp', 'vdp', 'pair', 'daemon', 'config'];

/** A table is called by file and section; a further one of the same section by the first word of its heading too. */
const NO_TEST: Record<string, string> = {
  'lldp.md 1': 'the layout of a frame: octets/ethernet.test.ts, vectors.md',
  'lldp.md 1.1': 'addresses: vectors.md; what a Linux bridge does to them: kernel and daemon tests',
  'lldp.md 1.1 Destination': 'measurements of the kernel',
  'lldp.md 3': 'defaults and ranges: config.test.ts; what they do: rows of section 4',
  'lldp.md 8': 'what lldpad does and we do not',
  'evb-tlv.md 1.5': 'powers of two: vdp.md 2',
  'evb-tlv.md 1.6': 'defaults: config.test.ts',
  'evb-tlv.md 1.7':
    'what others transmit; ours follows below that table: evb/negotiation.test.ts has both of them as peers',
  'evb-tlv.md 1.10': 'an example: evb/bridge.test.ts plays it',
  'evb-tlv.md 2.1': 'CDCP is not built',
  'evb-tlv.md 2.3': 'CDCP is not built',
  'evb-tlv.md 2.4': 'CDCP is not built',
  'ecp.md 1.1': 'the layout of a frame: vectors.md V7 and V8',
  'ecp.md 1.2': 'where the values come from: rows of vdp.md 2 and of section 1.3',
  'ecp.md 1.6': 'what lldpad does and we do not',
  'ecp.md 2.1': 'the layout of a frame: vectors.md V16',
  'evb-tlv.md 1.1': 'the layout of a TLV: vectors.md V3 and V4',
  'evb-tlv.md 3.1': 'the layout of a TLV: evb-draft-negotiate.pcap, lldp/captures.test.ts',
  'vdp.md 1.2': 'the layout of a TLV: vectors.md V7 to V15',
  'vdp.md 2.1': 'keys of other implementations',
  'vdp.md 4.1': 'what lldpad does; what we do about it: pair/treatment.test.ts, daemon/lldpad-bridge.test.ts',
  'vdp.md 4.2': 'what lldpad does, measured; what we do about it: pair/treatment.test.ts',
  'vdp.md 5.1': 'the layout of a TLV: vectors.md V16 and V17',
};

interface Table {
  name: string;
  /** Its rows are states. */
  isOfStates: boolean;
  /** The first cell of each row. */
  rows: string[];
}

function tablesOf(file: string): Table[] {
  const tables: Table[] = [];
  let section = '';
  let rows: string[] | undefined;
  for (const line of fs.readFileSync(path.join(root, 'docs/protocol', file), 'utf8').split('\n')) {
    section = /^#+ (\d+(\.\d+)*)/.exec(line)?.[1] ?? section;
    if (!line.startsWith('|')) {
      rows = undefined;
      continue;
    }
    const [cell, second] = line
      .split('|')
      .slice(1, 3)
      .map((text) => text.trim()) as [string, string];
    if (rows === undefined) {
      const name = `${file} ${section}`;
      const word = cell.split(' ')[0];
      const names = [name, `${name} ${word}`, `${name} ${word} ${second}`];
      rows = [];
      tables.push({
        name: names.find((candidate) => tables.every((table) => table.name !== candidate))!,
        isOfStates: cell === 'State',
        rows,
      });
    } else if (!/^-+$/.test(cell)) rows.push(cell);
  }
  return tables;
}

/** What the titles of the tests cite: `table row n`, with the row's name if it says one. */
function citations(): Map<string, Set<string>> {
  const cited = new Map<string, Set<string>>();
  for (const folder of TESTED_IN) {
    for (const name of fs.readdirSync(path.join(root, 'test', folder))) {
      if (!name.endsWith('.test.ts')) continue;
      const source = fs.readFileSync(path.join(root, 'test', folder, name), 'utf8');
      const citation =
        /([a-z-]+\.md \d+(?:\.\d+)*(?: (?!row)[A-Z]\w+(?: N=1)?)?)((?:,? row \d+(?: [A-Z][A-Z_]+)?)+)/g;
      for (const line of source.split('\n').filter((text) => /['`"]/.test(text))) {
        for (const [, table, rows] of line.matchAll(citation)) {
          for (const [, row, state] of rows!.matchAll(/row (\d+)(?: ([A-Z][A-Z_]+))?/g)) {
            const key = `${table} row ${row}`;
            if (!cited.has(key)) cited.set(key, new Set());
            if (state !== undefined) cited.get(key)!.add(state);
          }
        }
      }
    }
  }
  return cited;
}

const cited = citations();
const tables = ['lldp.md', 'evb-tlv.md', 'ecp.md', 'vdp.md'].flatMap(tablesOf);

describe.each(tables.filter(({ name }) => !(name in NO_TEST)))('$name', ({ name, isOfStates, rows }) => {
  test.each(rows.map((cell, i) => [i + 1, cell] as const))('row %d: %s', (row, cell) => {
    const states = cited.get(`${name} row ${row}`);
    expect(states, `no test says "${name} row ${row}" (${cell})`).toBeDefined();
    // A row that has moved since is noticed by the state that its tests name.
    const state = isOfStates ? /^[A-Z_]+(?= |$)/.exec(cell)?.[0] : undefined;
    if (state !== undefined) expect([...states!]).toEqual([state]);
  });
});

test('no test names a row that is not there', () => {
  const there = new Set(tables.flatMap(({ name, rows }) => rows.map((_, i) => `${name} row ${i + 1}`)));
  expect(
    [...cited.keys()].filter((key) => !there.has(key) && !/^(interop-notes|vectors)\.md/.test(key)),
  ).toEqual([]);
});

test('what is passed over is there', () => {
  const names = tables.map(({ name }) => name);
  expect(Object.keys(NO_TEST).filter((name) => !names.includes(name))).toEqual([]);
});
