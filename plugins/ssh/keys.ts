import { createPrivateKey, createPublicKey, hkdfSync } from 'node:crypto'

export interface UserKey {
  /** Of the form that ssh2 reads: OpenSSH's own, unencrypted. Never stored, never logged. */
  privateKey: string
  /** One line for authorized_keys. */
  publicKey: string
}

/** Which master secret a key was derived from; says nothing of the secret itself. */
export interface IdentifiedKey extends UserKey {
  /** 8 hex digits, the same for all users. */
  keyId: string
}

const KEY_TYPE = 'ssh-ed25519'
const SEED_BYTES = 32
/** Changing it changes every user's key. */
const HKDF_SALT = 'ssh-websocket-tunnel/user-key/v1'
const ID_SALT = 'ssh-websocket-tunnel/key-id/v1'
const ID_BYTES = 4
/** RFC 8410: an Ed25519 seed as PKCS #8, up to the seed itself. */
const PKCS8_PREFIX = Buffer.from('302e020100300506032b657004220420', 'hex')

/**
 * The user's Ed25519 key, the same on every replica that holds the master secret (HKDF-SHA256, RFC 5869).
 * The user id goes in as `info`, so that no two users share one.
 */
export function deriveUserKey(masterSecret: string, userId: string): UserKey {
  const seed = Buffer.from(hkdfSync('sha256', masterSecret, HKDF_SALT, userId, SEED_BYTES))
  const privateKey = createPrivateKey({
    key: Buffer.concat([PKCS8_PREFIX, seed]),
    format: 'der',
    type: 'pkcs8',
  })
  const spki = createPublicKey(privateKey).export({ format: 'der', type: 'spki' })
  const publicHalf = spki.subarray(spki.length - SEED_BYTES)
  const comment = `tunnel:${userId}`
  const blob = Buffer.concat([sshString(KEY_TYPE), sshString(publicHalf)])
  return {
    privateKey: openSshPrivateKey(blob, publicHalf, seed, comment),
    publicKey: `${KEY_TYPE} ${blob.toString('base64')} ${comment}`,
  }
}

/**
 * The master secrets of a setting, one on each line, the newest first: while a secret is replaced, those that machines
 * still know stand behind it.
 */
export function secretsOf(masterSecret: string): string[] {
  return masterSecret.split(/\r?\n/).filter((line) => line !== '')
}

/** The user's keys, in the order in which they are offered to a machine. */
export function userKeys(masterSecrets: readonly string[], userId: string): IdentifiedKey[] {
  return masterSecrets.map((secret) => ({
    ...deriveUserKey(secret, userId),
    keyId: Buffer.from(hkdfSync('sha256', secret, ID_SALT, '', ID_BYTES)).toString('hex'),
  }))
}

/** OpenSSH's PROTOCOL.key: the only form in which ssh2 takes an Ed25519 key. */
function openSshPrivateKey(blob: Buffer, publicHalf: Buffer, seed: Buffer, comment: string): string {
  // Two equal numbers let a reader see that decryption worked; nothing is encrypted, so any will do.
  const check = Buffer.alloc(8)
  const secret = Buffer.concat([
    check,
    sshString(KEY_TYPE),
    sshString(publicHalf),
    sshString(Buffer.concat([seed, publicHalf])),
    sshString(comment),
  ])
  const padding = Buffer.from(Array.from({ length: (8 - (secret.length % 8)) % 8 }, (_, index) => index + 1))
  const body = Buffer.concat([
    Buffer.from('openssh-key-v1\0'),
    sshString('none'),
    sshString('none'),
    sshString(''),
    Buffer.from([0, 0, 0, 1]),
    sshString(blob),
    sshString(Buffer.concat([secret, padding])),
  ])
  const lines = body.toString('base64').match(/.{1,70}/g) ?? []
  return ['-----BEGIN OPENSSH PRIVATE KEY-----', ...lines, '-----END OPENSSH PRIVATE KEY-----', ''].join('\n')
}

/** RFC 4251, section 5. */
function sshString(value: string | Buffer): Buffer {
  const bytes = Buffer.from(value)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}
