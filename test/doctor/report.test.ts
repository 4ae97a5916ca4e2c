import { expect, it } from 'vitest';
import { PLAIN } from '../../src/cli/terminal.ts';
import type { Finding } from '../../src/doctor/findings.ts';
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
