/** Checks of what stands on an uplink: macvlan, macvtap and ipvlan interfaces. */

import { type MacAddress, macFromOctets, macToOctets } from '../../protocols/octets/index.ts';
import type { Config } from '../config/config.ts';
import type { SlaveStatus, VsiStatus } from '../model.ts';
import { quoted } from '../shell.ts';
import { ruleMatches } from '../station/association.ts';
import type { Facts, LinkFacts } from './facts.ts';
import { Check, counted, type Finding, listed } from './findings.ts';

/** Slaves that one mend is given for. */
const MENDED = 4;

export function judgeSlaves(facts: Facts, link: LinkFacts): Finding[] {
  if (link.role !== 'station' || link.slaves.length === 0) return [];
  return [...modes(facts, link), ...addresses(link), ...vsis(facts, link), ...limits(link)];
}

const isMacvlan = ({ kind }: SlaveStatus) => kind === 'macvlan' || kind === 'macvtap';
const isVepa = ({ mode }: SlaveStatus) => mode === 'vepa' || mode.endsWith(' vepa');
const nameOf = ({ name, namespace }: SlaveStatus) =>
  namespace < 0 ? name : `${name} in namespace ${namespace}`;

function modes({ configuration }: Facts, { name, slaves, uplink }: LinkFacts): Finding[] {
  const check = new Check('slave-mode', name);
  const others = slaves.filter((slave) => !isVepa(slave));
  // evbd counts one that it has switched itself as it was.
  const switched = others.filter(({ vsi }) => vsi !== '');
  const rest = others.filter(({ vsi }) => vsi === '');
  const found: Finding[] = [];
  if (switched.length > 0)
    found.push(
      check.info(`evbd has set ${listed(switched.map(nameOf))} to bridge mode until relay is active`, {
        why: 'when-relay-refused: bridge',
      }),
    );
  if (rest.length > 0) {
    const wanted = rest.filter(
      ({ mac }) =>
        uplink?.slaves === 'auto' && 'config' in configuration && isRuled(mac, name, configuration.config),
    );
    const told = wanted.length > 0 ? wanted : rest;
    const text = `${listed(told.map((slave) => `${nameOf(slave)} (${slave.mode})`))} not in VEPA mode`;
    const why = 'what it sends to its neighbours does not pass the switch, and it gets no VSI';
    const ours = told.filter((slave) => isMacvlan(slave) && slave.namespace < 0 && slave.mode !== 'passthru');
    const run = ours
      .slice(0, MENDED)
      .map((slave) => `ip link set dev ${quoted(slave.name)} type ${slave.kind} mode vepa`)
      .join(' && ');
    const mend = run === '' ? {} : { mend: { run } };
    found.push(
      wanted.length > 0 ? check.warning(text, { why, ...mend }) : check.info(text, { why, ...mend }),
    );
  }
  return found.length > 0 ? found : [check.ok(`${counted(slaves.length, 'slave')} in VEPA mode`)];
}

function isRuled(mac: string, uplink: string, { rules }: Config): boolean {
  return rules.some(
    ({ match }) =>
      (match.uplink === undefined || match.uplink === uplink) && ruleMatches(match.mac, mac as MacAddress),
  );
}

/** The kernel does not let up a macvlan with an address that is in use on its interface. */
function addresses({ name, link, slaves }: LinkFacts): Finding[] {
  const check = new Check('slave-address', name);
  const own = slaves.filter(
    (slave) => isMacvlan(slave) && slave.mode !== 'passthru' && slave.mac !== '' && slave.mac === link?.mac,
  );
  const holders = new Map<string, SlaveStatus[]>();
  for (const slave of slaves.filter(isMacvlan)) {
    const key = `${slave.mac}/${slave.vlan}`;
    if (slave.mac !== '') holders.set(key, [...(holders.get(key) ?? []), slave]);
  }
  const twice = [...holders.values()].filter((each) => each.length > 1);
  const found: Finding[] = [];
  const why = 'only one interface of them can be up';
  const anew = (slave: SlaveStatus) =>
    slave.namespace < 0
      ? { mend: { run: `ip link set dev ${quoted(slave.name)} address ${anotherMac(slave.mac, slaves)}` } }
      : {};
  for (const slave of own.slice(0, MENDED))
    found.push(check.warning(`${nameOf(slave)} has the address of ${name} itself`, { why, ...anew(slave) }));
  for (const same of twice.slice(0, MENDED))
    found.push(
      check.warning(`${listed(same.map(nameOf))} have the same address ${same[0]!.mac}`, {
        why,
        ...anew(same.at(-1)!),
      }),
    );
  return found.length > 0 ? found : [check.ok('each slave has an address of its own')];
}

/** A locally administered one that none of the slaves has. */
function anotherMac(mac: string, slaves: readonly SlaveStatus[]): string {
  const octets = macToOctets(mac as MacAddress);
  octets[0]! |= 0x02;
  const taken = new Set([mac, ...slaves.map((slave) => slave.mac)]);
  let next: string;
  do {
    octets[5] = (octets[5]! + 1) & 0xff;
    if (octets[5] === 0) octets[4] = (octets[4]! + 1) & 0xff;
    next = macFromOctets(octets);
  } while (taken.has(next));
  return next;
}

/** States that are as they shall be. */
const SETTLED = new Set(['associated', 'preassociated', 'reserved']);

function vsis(facts: Facts, { name, slaves, uplink, status }: LinkFacts): Finding[] {
  const { daemon, evbctl, file } = facts;
  if (!daemon.running || status === undefined || uplink?.evb === false || status.relay === 'assumed')
    return [];
  const check = new Check('slave-vsi', name);
  const own = daemon.vsis.filter(({ link }) => link === name);
  const has = (slave: SlaveStatus) =>
    slave.vsi !== '' || own.some(({ filters }) => filters.some(({ mac }) => mac === slave.mac));
  const without = slaves.filter((slave) => isVepa(slave) && !has(slave));
  const found: Finding[] = [];
  const why = 'the switch was not told of them, and may let nothing of theirs through';
  const manual = uplink?.slaves !== 'auto';
  const reasons = new Map<string, SlaveStatus[]>();
  for (const slave of without) reasons.set(slave.reason, [...(reasons.get(slave.reason) ?? []), slave]);
  for (const [reason, some] of reasons) {
    const text = `${listed(some.map(nameOf))} without VSI${reason === '' ? '' : `: ${reason}`}`;
    const [{ mac }] = some as [SlaveStatus];
    const rule = `rules: [{ match: { mac: "${mac.slice(0, 8)}:*" }, profile: NAME }]`;
    const mend = manual
      ? {
          do: `"slaves: auto" and rules in ${file}, or ${evbctl} associate ${quoted(name)} --mac ${mac} --profile NAME`,
        }
      : { do: `"${rule}" in ${file}` };
    found.push(check.warning(text, { why, mend }));
  }
  const stuck = own.filter(
    ({ state }) => !SETTLED.has(state) && state !== 'deassociated' && state !== 'deassociating',
  );
  for (const vsi of stuck.slice(0, MENDED)) found.push(unsettled(check, vsi, evbctl));
  if (stuck.length > MENDED)
    found.push(check.warning(`${stuck.length - MENDED} more VSIs are not associated`));
  return found.length > 0 ? found : [check.ok(`every VEPA slave has a VSI`)];
}

function unsettled(check: Check, { link, id, state, filters, reason }: VsiStatus, evbctl: string): Finding {
  const who = filters[0]?.mac ?? id;
  const more = { mend: { run: `${evbctl} vsi ${quoted(`${link}/${id}`)}` } };
  const text = `${who} is ${state}: ${reason}`;
  return state === 'failed' ? check.problem(text, more) : check.warning(text, more);
}

/** What is so by design, and learnt late by most. */
function limits({ name, slaves, status }: LinkFacts): Finding[] {
  const found: Finding[] = [];
  const reflects = status?.relay === 'active' || status?.relay === 'assumed';
  if (slaves.some(isMacvlan) && !reflects)
    found.push(
      new Check('host-to-guest', name).info(
        'this host and its macvlan and macvtap guests do not reach each other',
        {
          why: 'what they say to each other goes to the switch, and comes back only with reflective relay',
          mend: { do: 'reflective relay at the switch port' },
        },
      ),
    );
  const ipvlans = slaves.filter((slave) => !isMacvlan(slave));
  if (ipvlans.length > 0)
    found.push(
      new Check('ipvlan', name).info(
        `${listed(ipvlans.map(nameOf))} ${ipvlans.length === 1 ? 'has' : 'have'} the address of ${name}`,
        {
          why: 'the switch sees source and destination alike, and routers answer with ICMP redirects: macvlan has neither',
        },
      ),
    );
  return found;
}
