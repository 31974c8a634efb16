import { createHash, X509Certificate } from 'node:crypto'
import type { PeerCertificate, TLSSocket } from 'node:tls'
import { type ErrorCode, TunnelError } from '../codec/errors.ts'

/** How many of its names are told of a certificate that has not the right one. */
const MAX_NAMES = 8
/** The longest word of a stranger's certificate that is told, in characters. */
const MAX_WORD = 120

/** `sha256//` and the base64 of the SHA-256 of a certificate's SubjectPublicKeyInfo, as curl's --pinnedpubkey has it. */
export function pinOf(certificate: X509Certificate): string {
  const spki = certificate.publicKey.export({ type: 'spki', format: 'der' })
  return `sha256//${createHash('sha256').update(spki).digest('base64')}`
}

/**
 * Why the peer of a finished handshake is not the one that is meant; undefined when it is.
 * @param where host and port, for people
 * @param pin one or several with `;` between them, of which it has to have one
 */
export function certificateFailure(
  socket: TLSSocket,
  where: string,
  pin: string | undefined,
): TunnelError | undefined {
  if (!socket.authorized) return untrusted(socket, where)
  if (pin === undefined) return undefined
  const peer = socket.getPeerX509Certificate()
  const found = peer === undefined ? 'none' : pinOf(peer)
  if (pin.split(';').includes(found)) return undefined
  return failed(
    'CERTIFICATE_NOT_PINNED',
    `the public key of ${where} is ${found}, which is not the pinned one`,
  )
}

const failed = (code: ErrorCode, message: string): TunnelError =>
  new TunnelError(code, message, { hop: 'proxy' })

/** What OpenSSL found (X509_V_ERR_…, by their names in Node), with the certificate's own words. */
function untrusted(socket: TLSSocket, where: string): TunnelError {
  const reason = String(socket.authorizationError)
  const peer = socket.getPeerCertificate()
  const its = `the certificate of ${where}`
  if (reason === 'CERT_HAS_EXPIRED')
    return failed(
      'CERTIFICATE_EXPIRED',
      `${its} expired on ${day(lastOf(socket))}; it is ${day(new Date())} here`,
    )
  if (reason === 'CERT_NOT_YET_VALID')
    return failed(
      'CERTIFICATE_NOT_YET_VALID',
      `${its} is good from ${day(firstOf(socket))}, and this computer's clock says ${day(new Date())}`,
    )
  if (reason === 'ERR_TLS_CERT_ALTNAME_INVALID')
    return failed('CERTIFICATE_WRONG_HOST', `${its} is for ${namesOf(peer)}, and not for that name`)
  const issuer = word(peer.issuer?.CN ?? peer.issuer?.O)
  const why = /SELF_SIGNED/.test(reason)
    ? `is signed by itself, or by an authority that nobody knows here (${issuer})`
    : /UNABLE_TO|ISSUER/.test(reason)
      ? `is signed by an authority that is not known here (${issuer})`
      : `is not accepted (${word(reason)})`
  return failed('CERTIFICATE_UNTRUSTED', `${its} ${why}`)
}

/** The peer's chain, from its own certificate up, as far as it has sent it. */
function* chainOf(socket: TLSSocket): Generator<X509Certificate> {
  let at = socket.getPeerCertificate(true)
  const seen = new Set<string>()
  while (at?.raw !== undefined && !seen.has(at.fingerprint256)) {
    seen.add(at.fingerprint256)
    yield new X509Certificate(at.raw)
    at = at.issuerCertificate
  }
}

/** Which of a chain has expired is not said; the first that is to is. */
function lastOf(socket: TLSSocket): Date {
  return new Date(Math.min(...[...chainOf(socket)].map(({ validTo }) => Date.parse(validTo))))
}

function firstOf(socket: TLSSocket): Date {
  return new Date(Math.max(...[...chainOf(socket)].map(({ validFrom }) => Date.parse(validFrom))))
}

function day(date: Date): string {
  return Number.isNaN(date.getTime())
    ? 'a day that cannot be read'
    : date.toISOString().slice(0, 16).replace('T', ' ')
}

function namesOf({ subjectaltname, subject }: PeerCertificate): string {
  const names = subjectaltname?.split(', ').map((name) => name.replace(/^(DNS|IP Address):/, '')) ?? []
  if (names.length === 0) return `${word(subject?.CN)} (in its old field CN alone, which is not read)`
  const told = names.slice(0, MAX_NAMES).map(word)
  return names.length > told.length
    ? `${told.join(', ')} and ${names.length - told.length} more`
    : told.join(', ')
}

/** A stranger has written it. */
function word(text: string | string[] | undefined): string {
  return String(text ?? 'no name')
    .replaceAll(/[^\x20-\x7e]/g, '?')
    .slice(0, MAX_WORD)
}
