import { expect, test } from 'vitest';

import { escapeLabel, linkPath, parsePath, unescapeLabel, vsiPath } from '../../src/dbus/names.ts';

// As systemd's test-bus-util has them.
test.each([
  ['', '_'],
  ['eth0', 'eth0'],
  ['1', '_31'],
  ['1eth', '_31eth'],
  ['foo-bar', 'foo_2dbar'],
  ['under_score', 'under_5fscore'],
  ['eth0.100', 'eth0_2e100'],
  ['a/b', 'a_2fb'],
  ['ü', '_c3_bc'],
])('%o is escaped as %s', (label, escaped) => {
  expect(escapeLabel(label)).toBe(escaped);
  expect(unescapeLabel(escaped)).toBe(label);
});

test('paths name their objects', () => {
  expect(linkPath('br-0')).toBe('/org/evbd1/link/br_2d0');
  expect(parsePath(linkPath('br-0'))).toEqual({ kind: 'link', name: 'br-0' });
  expect(parsePath(vsiPath('br-0', '52:54'))).toEqual({ kind: 'vsi', link: 'br-0', id: '52:54' });
  for (const other of ['/org/evbd1', '/org/evbd10/link/x', '/org/evbd1/vsi/x', '/org/evbd1/link/a/b', '/']) {
    expect(parsePath(other)).toBeNull();
  }
});
