/** Checks of the adjacent bridge or station: who is heard, what it offers, what comes back. */

import { NEAREST_BRIDGE, NEAREST_CUSTOMER_BRIDGE } from '../../protocols/ethernet/index.ts';
import type { LinkStatus } from '../model.ts';
import { quoted } from '../shell.ts';
import { type Facts, type Heard, isUnknown, type LinkFacts } from './facts.ts';
import { Check, counted, type Finding, listed, named } from './findings.ts';
import { isUsable } from './link.ts';

/** Drivers of interfaces behind which a hypervisor has a bridge of its own. */
const VIRTUAL = ['virtio_net', 'vmxnet3', 'hv_netvsc', 'xen-netfront', 'ena', 'gve'];

export function judgePeer(facts: Facts, link: LinkFacts): Finding[] {
  if (!isUsable(link)) return [];
  const { status } = link;
  if (status === undefined) return [unasked(facts, link)];
  if (status.relayReason.startsWith('released'))
    return [
      new Check('neighbour', link.name).problem('it was released: evbd is silent on it', {
        mend: { run: `${facts.evbctl} reload` },
      }),
    ];
  return [
    ...groups(facts, link),
    neighbour(facts, link, status),
    ...relay(facts, link, status),
    ...echo(link, status),
    ...frames(facts, link, status),
  ];
}

/** There is no daemon that would tell. */
function unasked({ doctor, root }: Facts, { name, heard, role }: LinkFacts): Finding {
  const check = new Check('neighbour', name);
  if (heard === undefined)
    return check.unknown('whether an EVB neighbour is there was not looked at', {
      mend: { run: `${root ? '' : 'sudo '}${doctor} --listen 35 ${quoted(name)}` },
    });
  const { failure, seconds, lldpdus } = heard;
  if (failure !== undefined)
    return check.unknown(`it cannot be listened to: ${failure}`, {
      ...(root ? {} : { mend: { run: `sudo ${doctor} --listen ${seconds} ${quoted(name)}` } }),
    });
  const evb = lldpdus.find((each) => each.evb !== undefined);
  if (evb === undefined) return silent(check, heard, role);
  const who = named(evb.systemName ?? evb.source);
  if (evb.evb === 'station' && role === 'station')
    return check.problem(`${who} is an EVB station too, not a bridge`, {
      mend: { do: 'connect it to a switch that speaks 802.1Qbg' },
    });
  if (role === 'station' && evb.relay !== true)
    return check.warning(`${who} speaks EVB, but offers no reflective relay`, {
      mend: { do: 'allow reflective relay at that port of the switch' },
    });
  return check.ok(`${who} speaks EVB`);
}

function silent(check: Check, { seconds, lldpdus }: Heard, role: LinkFacts['role']): Finding {
  const result = role === 'station' ? 'problem' : 'warning';
  const within = `within ${counted(seconds, 'second')}`;
  if (lldpdus.length === 0)
    return check[result](`no LLDP was heard ${within}`, {
      why: 'LLDP comes every 30 s',
      mend: { do: 'switch LLDP and EVB on at that port of the switch' },
    });
  const who = listed(lldpdus.map(({ systemName, source }) => named(systemName ?? source)));
  const scopes = new Set(lldpdus.map(({ destination }) => destination));
  const nearest = scopes.size === 1 && scopes.has(NEAREST_BRIDGE);
  return check[result](
    `LLDP${nearest ? ' for the nearest bridge' : ''} was heard of ${who}, but no EVB TLV ${within}`,
    { mend: { do: 'switch EVB (802.1Qbg) on at that port of the switch' } },
  );
}

/** While evbd runs, its sockets have the card receive the group addresses. */
function groups({ unit }: Facts, { name, groups: fact }: LinkFacts): Finding[] {
  const check = new Check('group-address', name);
  if (isUnknown(fact)) return [check.unknown(`what the interface receives is not known: ${fact.unknown}`)];
  if (fact.addresses.includes(NEAREST_CUSTOMER_BRIDGE))
    return [check.ok(`the interface receives ${NEAREST_CUSTOMER_BRIDGE}`)];
  return [
    check.problem(`the interface does not receive ${NEAREST_CUSTOMER_BRIDGE}`, {
      why: 'LLDP and ECP of the bridge do not get here',
      mend: unit ? { run: 'systemctl restart evbd' } : { do: 'start evbd anew' },
    }),
  ];
}

function neighbour(facts: Facts, link: LinkFacts, status: LinkStatus): Finding {
  const { name, role, uplink, port, driver, heard } = link;
  const { peer, counters, relayReason } = status;
  const check = new Check('neighbour', name);
  if (Object.keys(peer).length > 0) {
    const others = Number(peer['otherPeers'] ?? 0);
    const who = `${named(String(peer['systemName'] ?? peer['chassisId']))}, ${peer['mac'] ?? ''}`;
    if (others > 0)
      return check.warning(
        `besides ${who} there ${others === 1 ? 'is another EVB neighbour' : `are ${others} other EVB neighbours`}`,
        {
          why: 'evbd listens to one of them; something between forwards what is for the nearest bridge only',
          mend: { do: 'take out the switch or hub between, or have it keep 01:80:c2:00:00:00 to itself' },
        },
      );
    return check.ok(`${who} speaks EVB (${status.protocol})`);
  }
  if ((uplink ?? port)?.evb === false)
    return check.info('EVB is off on this link', { mend: { do: `"evb: true" at ${name} in ${facts.file}` } });
  if (status.relay === 'assumed') return check.ok('none is heard, and none is needed');
  // Who listens to all says more than counters.
  if (heard !== undefined && heard.failure === undefined && !heard.lldpdus.some(({ evb }) => evb))
    return silent(check, heard, role);
  const result = role === 'station' ? 'problem' : 'warning';
  const other = role === 'station' ? 'switch' : 'station';
  const { daemon } = facts;
  const since =
    daemon.running && daemon.age !== undefined
      ? ` in the ${counted(Math.round(daemon.age), 'second')} that evbd runs`
      : '';
  const count = (counter: string) => counters[counter] ?? 0;
  if (count('statsFramesInTotal') > 0)
    return check[result](`LLDP was heard, but there is no EVB peer: ${relayReason}`, {
      mend: { do: `switch EVB (802.1Qbg) on at the ${other}` },
    });
  if (count('framesTagged') > 0)
    return check[result](`LLDP comes with a VLAN tag only (${counted(count('framesTagged'), 'frame')})`, {
      mend: { do: `have the ${other} send it untagged` },
    });
  if (count('otherFrames') > 0)
    return check[result]('only frames for other groups were heard, as LLDP for the nearest bridge', {
      mend: {
        do: `switch EVB on at the ${other}; for one of draft 0.2 try "interop: { lldp-scope: nearest-bridge }"`,
      },
    });
  const behind = VIRTUAL.includes(driver ?? '')
    ? `have the hypervisor's bridge pass ${NEAREST_CUSTOMER_BRIDGE} on, or give this machine the card itself`
    : `switch LLDP and EVB on at the ${other}; if it is on, try: ip link set dev ${quoted(name)} promisc on`;
  return check[result](`nothing at all was heard${since}`, {
    why: 'LLDP comes every 30 s',
    mend: { do: behind },
  });
}

function relay({ evbctl, file }: Facts, { name, role, uplink }: LinkFacts, status: LinkStatus): Finding[] {
  const check = new Check('relay', name);
  const { relay: state, relayReason: reason } = status;
  if (state === 'active') return [check.ok('reflective relay is on')];
  if (state === 'assumed') return [check.info(reason, { mend: { run: `${evbctl} probe ${quoted(name)}` } })];
  // Of that the neighbour's finding tells.
  if (state === 'no-peer') return [];
  if (state === 'off')
    return [
      check.info(reason || 'relay is off', {
        ...(role === 'station' && {
          mend: { do: `"reflective-relay: request" at ${name} in ${file}` },
        }),
      }),
    ];
  if (role === 'bridge') {
    const deny = /deny/.test(reason);
    return [deny ? check.info(reason) : check.warning(reason || `relay is ${state}`)];
  }
  if (state === 'requested')
    return [
      check.warning('relay is requested, but the bridge has not turned it on', {
        why: 'VEPA guests of this host do not reach each other',
        mend: { do: `look at the switch port; ${file}: "when-relay-refused: bridge" helps meanwhile` },
      }),
    ];
  const fallback = uplink?.['when-relay-refused'] === 'bridge';
  return [
    check.problem(reason, {
      why: fallback
        ? 'the slaves of rules reach each other in bridge mode meanwhile'
        : 'VEPA guests of this host do not reach each other',
      mend: {
        do: `allow reflective relay at the switch port${fallback ? '' : `; or at ${name} in ${file}: "when-relay-refused: bridge"`}`,
      },
    }),
  ];
}

/** Own frames that come back are dropped, but tell of a bridge that forwards the group address. */
function echo({ name, role }: LinkFacts, { counters }: LinkStatus): Finding[] {
  const count = counters['framesOwnEchoed'] ?? 0;
  if (count === 0) return [];
  const check = new Check('echo', name);
  const text = `${counted(count, 'frame')} of its own came back, and ${count === 1 ? 'was' : 'were'} dropped`;
  if (role === 'bridge')
    return [
      check.warning(text, { why: 'there is a loop', mend: { do: 'look for a loop behind this port' } }),
    ];
  return [
    check.info(text, {
      why: `the bridge forwards ${NEAREST_CUSTOMER_BRIDGE} like data: its other ports may get it too`,
      mend: { do: 'at a Linux bridge: ip link set dev BRIDGE type bridge stp_state 1' },
    }),
  ];
}

function frames({ evbctl }: Facts, { name }: LinkFacts, { counters }: LinkStatus): Finding[] {
  const check = new Check('frames', name);
  const of = (counter: string) => counters[counter] ?? 0;
  const found: Finding[] = [];
  if (of('framesOverRate') + of('framesLostByKernel') > 0)
    found.push(
      check.warning(
        `${counted(of('framesOverRate') + of('framesLostByKernel'), 'frame')} came too fast and were dropped`,
        {
          why: 'somebody floods the group addresses, or one link carries very many guests',
          mend: {
            do: `${evbctl} trace ${quoted(name)} shows of whom; "limits: { frames-per-second: N }" takes more`,
          },
        },
      ),
    );
  if (of('framesNotSent') > 0)
    found.push(
      check.warning(`${counted(of('framesNotSent'), 'frame')} could not be sent`, {
        why: 'ECP and LLDP send again, but later',
        mend: { do: 'look at the MTU and at the queue of the interface' },
      }),
    );
  return found.length > 0 ? found : [check.ok('no frames were dropped')];
}
