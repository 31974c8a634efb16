import { createHmac, randomBytes, timingSafeEqual } from 'node:crypto'
import type { Replica } from '../../protocol/codec/hello.ts'

/** What both sides of a link have said in their HELLOs. */
export interface Greeted {
  dialler: Replica
  listener: Replica
}

export type Side = keyof Greeted

/** Good for one link. */
export function newNonce(): string {
  return randomBytes(32).toString('hex')
}

/**
 * That one side of a link knows the cluster's secret: HMAC-SHA-256 over the role, both ids and both nonces, in hex. The
 * side is part of it, so that a proof given back to its maker proves nothing.
 */
export function proofOf(secret: string, side: Side, { dialler, listener }: Greeted): string {
  const said = ['tunnel.v1', 'relay', side, dialler.id, dialler.nonce, listener.id, listener.nonce]
  // As JSON no two lists are one text.
  return createHmac('sha256', secret).update(JSON.stringify(said)).digest('hex')
}

export function isProof(given: unknown, secret: string, side: Side, greeted: Greeted): boolean {
  const expected = Buffer.from(proofOf(secret, side, greeted))
  const said = Buffer.from(typeof given === 'string' ? given : '')
  return said.length === expected.length && timingSafeEqual(said, expected)
}
