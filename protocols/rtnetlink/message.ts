import { Attributes, align, HostReader, HostWriter } from './attributes.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from './constants.ts';

const HEADER = 16;

export interface NetlinkHeader {
  type: number;
  flags: number;
  sequence: number;
  /** 0: the kernel. */
  portId: number;
}

export interface NetlinkMessage extends NetlinkHeader {
  /** All behind the header; offsets count from the start of the datagram. */
  payload: HostReader;
}

/** The messages of one datagram. Throws DecodeError. */
export function decodeMessages(datagram: Uint8Array): NetlinkMessage[] {
  const reader = new HostReader(datagram);
  const messages: NetlinkMessage[] = [];
  while (reader.remaining > 0) {
    const length = reader.u32('message length');
    if (length < HEADER) reader.fail(`a message length of ${length} octets`);
    const type = reader.u16('message type');
    const flags = reader.u16('message flags');
    const sequence = reader.u32('sequence number');
    const portId = reader.u32('port id');
    messages.push({ type, flags, sequence, portId, payload: reader.sub(length - HEADER, 'message') });
    reader.skipPadding(length);
  }
  return messages;
}

export function encodeMessage(header: NetlinkHeader, payload: Uint8Array): Uint8Array {
  const writer = new HostWriter()
    .u32(HEADER + payload.length)
    .u16(header.type)
    .u16(header.flags);
  writer.u32(header.sequence).u32(header.portId).octets(payload);
  return writer.octets(new Uint8Array(align(payload.length) - payload.length)).finish();
}

/** The end of a request: acknowledged, failed, or a dump that is complete. */
export interface Completion {
  /** Positive, as in errno.h; 0: done. */
  errno: number;
  /** The kernel's own explanation (extended ack), when it gave one. */
  text?: string;
  /** Where in the request the attribute that the kernel objects to begins. */
  attributeOffset?: number;
}

/** Of NLMSG_ERROR (0 in it is an acknowledgement) or NLMSG_DONE. Throws DecodeError. */
export function decodeCompletion(message: NetlinkMessage): Completion {
  const reader = message.payload.clone();
  // NLMSG_DONE of some dumps has no payload at all.
  if (message.type !== NLMSG_ERROR && reader.remaining === 0) return { errno: 0 };
  const completion: Completion = { errno: Math.abs(reader.s32('error')) };
  if ((message.flags & NLM_F_ACK_TLVS) === 0) return completion;
  if (message.type === NLMSG_ERROR) {
    const length = reader.clone().u32('length of the request');
    if (length < HEADER) reader.fail(`a request length of ${length} octets`);
    const quoted = (message.flags & NLM_F_CAPPED) !== 0 ? HEADER : length;
    reader.sub(quoted, 'the request');
    reader.skipPadding(quoted);
  }
  const attributes = new Attributes(reader);
  const text = attributes.text(NLMSGERR_ATTR_MSG);
  const attributeOffset = attributes.u32(NLMSGERR_ATTR_OFFS);
  if (text) completion.text = text;
  if (attributeOffset !== undefined) completion.attributeOffset = attributeOffset;
  return completion;
}
