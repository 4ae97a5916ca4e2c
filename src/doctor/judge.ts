import { judgeBridgePort } from './bridge-port.ts';
import { type Facts, isUnknown } from './facts.ts';
import { Check, type Finding } from './findings.ts';
import { judgeHost } from './host.ts';
import { judgeLink } from './link.ts';
import { judgePeer } from './peer.ts';
import { judgeSlaves } from './slaves.ts';

/** What follows from the facts, check by check: first the host, then link by link. */
export function judge(facts: Facts): Finding[] {
  const { daemon, interfaces, links } = facts;
  const host = judgeHost(facts);
  // The interfaces that we see are not those that evbd has.
  if (daemon.running && daemon.elsewhere) return host;
  if (isUnknown(interfaces))
    return [...host, new Check('interfaces').unknown(`the interfaces cannot be read: ${interfaces.unknown}`)];
  return [
    ...host,
    ...links.flatMap((link) => [
      ...judgeLink(facts, link),
      ...judgeBridgePort(facts, link),
      ...judgePeer(facts, link),
      ...judgeSlaves(facts, link),
    ]),
  ];
}
