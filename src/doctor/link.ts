/** Checks of the interface itself: whether it is fit for its role, and who else is on it. */

import { quoted } from '../shell.ts';
import { type Agent, type Facts, isUnknown, type LinkFacts } from './facts.ts';
import { Check, type Finding, listed, named } from './findings.ts';

/** Octets; ECP and LLDP fill frames of the usual length. */
const USUAL_MTU = 1500;
const ZERO_MAC = '00:00:00:00:00:00';

/** False: the checks that need the interface make no sense now. */
export function isUsable({ link }: LinkFacts): boolean {
  return link?.lowerUp === true && link.mac !== undefined;
}

export function judgeLink(facts: Facts, link: LinkFacts): Finding[] {
  const found = [...configured(facts, link), ...existence(facts, link)];
  if (link.link === undefined) return found;
  return [
    ...found,
    ...kind(facts, link),
    ...mtu(link),
    ...agents(facts, link),
    ...firmware(link),
    ...ipv6(link),
  ];
}

function configured(
  { configuration, file, evbctl }: Facts,
  { name, role, configured: is, status }: LinkFacts,
): Finding[] {
  if (is || status !== undefined || !('config' in configuration)) return [];
  const line = role === 'bridge' ? `ports: { ${name}: {} }` : `uplinks: { ${name}: {} }`;
  return [
    new Check('configuration', name).problem(`it is not in ${file}`, {
      mend: { do: `"${line}" in ${file}, then ${evbctl} reload` },
    }),
  ];
}

function existence({ interfaces, file }: Facts, { name, link }: LinkFacts): Finding[] {
  const check = new Check('interface', name);
  if (isUnknown(interfaces)) return [check.unknown(`interfaces cannot be read: ${interfaces.unknown}`)];
  if (link === undefined) {
    const others = interfaces.links
      .filter(({ name: other, parent, kind: is, mac }) => other !== 'lo' && mac && (!parent || is === 'veth'))
      .map((each) => each.name);
    return [
      check.problem('there is no such interface', {
        why: 'evbd takes it into use when it appears',
        mend: {
          do: `name another in ${file}${others.length > 0 ? ` (there are ${listed(others, 8)})` : ''}`,
        },
      }),
    ];
  }
  if (link.mac === undefined || link.mac === ZERO_MAC)
    return [check.problem('it is no Ethernet interface', { mend: { do: `name another in ${file}` } })];
  if (!link.up) return [check.problem('it is down', { mend: { run: `ip link set dev ${quoted(name)} up` } })];
  if (!link.lowerUp)
    return [
      check.problem('it has no carrier', {
        mend: { do: 'check the cable, and that the port at the other end is switched on' },
      }),
    ];
  return [check.ok(`it is up, address ${link.mac}`)];
}

/** What an uplink must not be, or must not be in. Ports have bridges of their own. */
function kind({ file }: Facts, { name, role, link, master }: LinkFacts): Finding[] {
  const check = new Check('uplink', name);
  const { kind: is = '', vlan, member } = link!;
  if (member !== undefined) {
    const whole = master === undefined ? member.of : `${member.of} ${master.name}`;
    return [
      check.problem(`it is a member of the ${whole}`, {
        why: `to the other end all members are one link: evbd speaks for the ${member.of}, never for one of them`,
        mend: {
          do: `name ${master === undefined ? `the ${member.of}` : master.name} instead of it in ${file}`,
        },
      }),
    ];
  }
  if (role === 'bridge') return [];
  if (vlan !== undefined)
    return [
      check.problem(`it is a VLAN device (${vlan.id})`, {
        why: 'its LLDP leaves with a tag, which no switch takes',
        mend: { do: 'name the interface below it; slaves on VLAN devices are found there' },
      }),
    ];
  if (['macvlan', 'macvtap', 'ipvlan', 'ipvtap'].includes(is))
    return [check.problem(`it is itself a ${is}`, { mend: { do: 'name the interface that it stands on' } })];
  if (is === 'bridge')
    return [
      check.problem('it is a bridge', {
        why: 'EVB is spoken between a switch and one interface',
        mend: { do: 'take the interface to the switch out of the bridge and name that one' },
      }),
    ];
  if (link!.master === undefined) return [check.ok('it is in no bridge and no aggregate')];
  const nomaster = { run: `ip link set dev ${quoted(name)} nomaster` };
  const exclude = 'an interface in it can carry no VEPA guests: macvlan and it exclude each other';
  if (master === undefined)
    return [check.warning('it is in a bridge or an aggregate of another namespace', { mend: nomaster })];
  if (master.kind === 'bridge')
    return [
      check.problem(`it is a port of the Linux bridge ${master.name}`, {
        why: `${exclude} (a port of a reflective switch belongs under ports:)`,
        mend: nomaster,
      }),
    ];
  if (master.kind === 'openvswitch')
    return [
      check.problem('it is a port of Open vSwitch', {
        why: exclude,
        mend: { run: `ovs-vsctl del-port ${quoted(name)}` },
      }),
    ];
  return [check.ok(`it is in ${master.name} (${master.kind ?? 'unknown kind'}), which does not matter`)];
}

function mtu({ name, link }: LinkFacts): Finding[] {
  const check = new Check('mtu', name);
  const { mtu: is } = link!;
  if (is >= USUAL_MTU) return [check.ok(`MTU ${is}`)];
  return [
    check.warning(`its MTU is ${is}`, {
      why: 'longer frames of ECP and LLDP, as many guests at once make them, are not sent',
      mend: { run: `ip link set dev ${quoted(name)} mtu ${USUAL_MTU}` },
    }),
  ];
}

function agents({ doctor, root }: Facts, { name, agents: fact, uplink, port }: LinkFacts): Finding[] {
  const check = new Check('lldp-agent', name);
  if (isUnknown(fact)) return [check.unknown(`other LLDP agents cannot be told: ${fact.unknown}`)];
  const scope = (uplink ?? port)?.interop['lldp-scope'] ?? 'customer-bridge';
  const { found } = fact;
  if (found.length === 0) return [check.ok('no other program speaks LLDP or ECP on it')];
  return found.map((agent) => {
    const who = agent.name === '' ? 'another program' : named(agent.name);
    const process = agent.pid === undefined ? '' : ` (process ${agent.pid})`;
    if (agent.program === 'stranger')
      return check.info(`process ${agent.pid} calls itself ${who}`, {
        why: `it is of a user that ${who} does not run as: what it says of itself is not passed on`,
      });
    if (agent.transmits === false)
      return check.ok(`${who}${process} does not speak on the address that EVB uses`);
    if (agent.transmits === undefined && !root)
      return check.unknown(`what ${who}${process} says on it is not to be seen by this user`, {
        mend: { run: `sudo ${doctor}` },
      });
    if (agent.transmits === undefined)
      return check.warning(
        `${who}${process} takes ${agent.ecp ? 'ECP' : 'LLDP'} too; whether it speaks is not known`,
        {
          why: 'two EVB stations on one interface undo each other',
          mend: { do: `keep ${who} off ${name}` },
        },
      );
    return check.problem(`${who}${process} also speaks LLDP to the ${scope.replace('-', ' ')} address`, {
      why: 'to the bridge both are one neighbour: each takes back what the other said of EVB',
      mend: silence(agent, name, scope),
    });
  });
}

function silence(
  { program, pid, file }: Agent,
  name: string,
  scope: string,
): { run: string } | { do: string } {
  const link = quoted(name);
  switch (program) {
    case 'lldpad': {
      const agent = scope === 'nearest-bridge' ? 'nb' : 'ncb';
      const evb = `lldptool -T -i ${link} -g ${agent} -V evb -c enableTx=no`;
      return { run: `${evb} && lldptool -L -i ${link} -g ${agent} adminStatus=disabled` };
    }
    case 'lldpd':
      return {
        do: `lldpcli configure lldp agent-type nearest-bridge${file === undefined ? '' : `, and so in ${named(file)}`}`,
      };
    case 'systemd-networkd':
      return {
        do: `EmitLLDP=no under [Network] in ${file === undefined ? 'its file' : named(file)}, then networkctl reload`,
      };
    case 'evbd':
      return { run: `kill ${pid}` };
    case 'other':
    case 'stranger':
      return { do: `keep it off ${name}` };
  }
}

function firmware({ name, firmware: fact, driver }: LinkFacts): Finding[] {
  const check = new Check('firmware-lldp', name);
  const flags = (text: string) => ({ run: `ethtool --set-priv-flags ${quoted(name)} ${text}` });
  const card = driver === undefined ? 'the card' : `the card (${driver})`;
  if (isUnknown(fact)) {
    return [
      check.unknown(`whether ${card} takes LLDP for itself cannot be told: ${fact.unknown}`, {
        mend: { run: `ethtool --show-priv-flags ${quoted(name)}` },
      }),
    ];
  }
  if (fact.agent === 'none') return [check.ok('no LLDP agent in the firmware of its card is known')];
  if (fact.agent === 'off') return [check.ok(`the LLDP agent in the firmware of ${card} is off`)];
  return [
    check.problem(`the firmware of ${card} takes LLDP for itself`, {
      why: 'what the switch says never gets here',
      mend: flags(driver === 'i40e' ? 'disable-fw-lldp on' : 'fw-lldp-agent off'),
    }),
  ];
}

function ipv6({ name, role, ipv6: fact, uplink }: LinkFacts): Finding[] {
  if (role === 'bridge' || uplink?.['reflective-relay'] === 'off') return [];
  const check = new Check('ipv6-dad', name);
  if (isUnknown(fact)) return [check.unknown(`IPv6 duplicate address detection: ${fact.unknown}`)];
  if (!fact.enabled) return [check.ok('IPv6 looks for no duplicate addresses on it')];
  const run = `sysctl -w net/ipv6/conf/${quoted(name)}/enhanced_dad=1`;
  if (fact.duplicate)
    return [
      check.problem('an IPv6 address on it has failed duplicate address detection', {
        why: fact.enhancedDad
          ? 'either another host has it, or the bridge reflected the probe before relay was agreed'
          : 'a reflecting bridge sends the probe back, and without enhanced_dad it passes for another host',
        mend: {
          do: `${fact.enhancedDad ? '' : `${run}; then `}take the address off the interface and give it anew`,
        },
      }),
    ];
  if (fact.enhancedDad) return [check.ok('enhanced_dad is on')];
  return [
    check.warning('enhanced_dad is off', {
      why: 'a reflecting bridge sends the IPv6 probes back: the host takes its own addresses for duplicates',
      mend: { run },
    }),
  ];
}
