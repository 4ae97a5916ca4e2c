/** Checks of a port of a Linux bridge that plays the switch. */

import { causeOf } from '../kernel/leak-cause.ts';
import { quoted } from '../shell.ts';
import { type Facts, isUnknown, type LinkFacts } from './facts.ts';
import { Check, type Finding, listed } from './findings.ts';

/** The first kernel with locked bridge ports. */
const LOCKED_SINCE = [5, 18] as const;

export function judgeBridgePort(facts: Facts, link: LinkFacts): Finding[] {
  // Of a member of a bond another check tells what is to be done.
  if (link.role !== 'bridge' || link.link === undefined || link.link.member !== undefined) return [];
  const { bridgePort } = link.link;
  const found = [...bridge(facts, link), ...enforce(facts, link)];
  return bridgePort === undefined ? found : [...found, ...isolated(facts, link), ...leak(facts, link)];
}

function bridge({ interfaces }: Facts, { name, link, master, port }: LinkFacts): Finding[] {
  const check = new Check('bridge', name);
  const link_ = link!;
  if (link_.bridgePort === undefined || master?.kind !== 'bridge') {
    if (port?.['reflective-relay'] === 'always')
      return [check.ok('it reflects without a Linux bridge (always)')];
    const bridges = isUnknown(interfaces) ? [] : interfaces.links.filter(({ kind }) => kind === 'bridge');
    const [only] = bridges;
    const target = bridges.length === 1 ? quoted(only!.name) : 'br0';
    const make = 'ip link add br0 type bridge && ip link set dev br0 up && ';
    const enslave = `ip link set dev ${quoted(name)} master ${target}`;
    const which = master === undefined ? '' : `, but in ${master.name} (${master.kind ?? 'unknown kind'})`;
    return [
      check.problem(`it is in no Linux bridge${which}`, {
        why: 'only a port of a Linux bridge can reflect (hairpin)',
        mend:
          bridges.length > 1
            ? {
                do: `${enslave.replace(target, 'BRIDGE')}, one of ${listed(bridges.map((each) => each.name))}`,
              }
            : { run: bridges.length === 1 ? enslave : make + enslave },
      }),
    ];
  }
  if (!master.up)
    return [
      check.problem(`its bridge ${master.name} is down`, {
        why: 'a bridge that is down forwards and reflects nothing',
        mend: { run: `ip link set dev ${quoted(master.name)} up` },
      }),
    ];
  const { state } = link_.bridgePort;
  if (!link_.lowerUp || state === 'forwarding') return [check.ok(`it is a port of ${master.name}, ${state}`)];
  if (state === 'blocking')
    return [
      check.warning(`spanning tree at ${master.name} blocks it`, {
        why: 'EVB goes on, guests do not get through',
        mend: { do: 'look for the loop, or give this port a lower cost' },
      }),
    ];
  return [
    check.info(`spanning tree at ${master.name}: it is ${state}`, {
      why: 'guests get through when it forwards, half a minute after it came up unless set otherwise',
    }),
  ];
}

function enforce({ kernelRelease }: Facts, { name, link, port }: LinkFacts): Finding[] {
  if (port?.enforce !== true) return [];
  const check = new Check('enforce', name);
  const [major = 0, minor = 0] = kernelRelease.split('.').map((part) => Number.parseInt(part, 10));
  const known = link!.bridgePort;
  const able =
    known === undefined
      ? major > LOCKED_SINCE[0] || (major === LOCKED_SINCE[0] && minor >= LOCKED_SINCE[1])
      : known.locked !== undefined;
  if (able) return [check.ok('the kernel has locked bridge ports')];
  return [
    check.problem(`this kernel (${kernelRelease}) has no locked bridge ports: enforce: on cannot work`, {
      mend: { do: `Linux ${LOCKED_SINCE.join('.')} or later; or "ports: { ${name}: { enforce: off } }"` },
    }),
  ];
}

function isolated({ file, evbctl }: Facts, { name, link, port, status }: LinkFacts): Finding[] {
  const check = new Check('isolated', name);
  if (!link!.bridgePort!.isolated) return [check.ok('it is not isolated')];
  if (port?.['reflective-relay'] === 'deny') return [check.ok('it is isolated, and relay is denied')];
  if (port?.isolated === 'clear') {
    const when = status === undefined ? 'when evbd runs and relay is requested' : 'while relay is requested';
    return [check.info(`it is isolated, which is cleared ${when}`)];
  }
  return [
    check.problem('it is isolated', {
      why: `that silently defeats hairpin: nothing is reflected ("isolated: clear" in ${file} and ${evbctl} reload have evbd clear it)`,
      mend: { run: `bridge link set dev ${quoted(name)} isolated off` },
    }),
  ];
}

/** The kernel forwards the group address of EVB like data, unless spanning tree is on or evbd keeps it from that (lldp.md 1.1). */
function leak(
  { interfaces, file, evbctl }: Facts,
  { name, master, siblings, status, port }: LinkFacts,
): Finding[] {
  const check = new Check('leak', name);
  if (master?.bridge === undefined || isUnknown(interfaces)) return [];
  const cause = causeOf(master, interfaces);
  if (cause === undefined) return [check.ok(`${master.name} forwards no EVB frames`)];
  if (siblings.length === 0) return [check.ok(`it is the only port of ${master.name}: nothing can leak`)];
  if (status?.leak === 'stopped') return [check.ok(status.leakReason)];
  if (status === undefined && port?.leak !== 'report')
    return [
      check.info(`${cause.text}: EVB frames leak to ${listed(siblings)} until evbd runs and stops that`),
    ];
  const mend =
    port?.leak === 'report'
      ? { do: `"leak: stop" at ${name} in ${file}, then ${evbctl} reload; or: ${cause.mend}` }
      : { run: cause.mend };
  return [
    check.problem(`EVB frames leak to ${listed(siblings)}`, {
      why: status?.leakReason ?? cause.text,
      mend,
    }),
  ];
}
