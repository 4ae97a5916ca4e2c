/** What the switch's kernel does with the port, told by `bridge monitor` as it happens. */

import { createInterface } from 'node:readline';
import { start } from './namespaces.ts';

/** Lines for people: the port's hairpin mode and lock, and the addresses that it admits. */
export function watchPort(onEvent: (text: string) => void): void {
  const monitor = start('switch', ['bridge', '-d', 'monitor', 'all']);
  monitor.on('error', () => {});
  const flags = new Map([
    ['hairpin', 'off'],
    ['locked', 'off'],
  ]);
  createInterface({ input: monitor.stdout }).on('line', (line) => {
    const entry = /^\[NEIGH\](Deleted )?([0-9a-f:]{17}) dev swp1 .*\bstatic\b/.exec(line);
    if (entry) onEvent(`swp1 ${entry[1] ? 'no longer admits' : 'admits'} ${entry[2]}`);
    for (const [flag, old] of flags) {
      const value = new RegExp(`^ .*\\b${flag} (on|off)\\b`).exec(line)?.[1];
      if (value === undefined || value === old) continue;
      flags.set(flag, value);
      onEvent(flag === 'hairpin' ? `swp1 hairpin_mode ${value === 'on' ? 1 : 0}` : `swp1 locked ${value}`);
    }
  });
}
