import { generateKeyPairSync } from 'node:crypto'

/** A fresh `ssh-ed25519 AAAA… comment`. Not by ssh2, which writes one in two hundred in a form that nobody reads. */
export function newPublicKey(comment = ''): string {
  const { x = '' } = generateKeyPairSync('ed25519').publicKey.export({ format: 'jwk' })
  // RFC 8709, section 4: the type and the key, each behind its length.
  const parts = [Buffer.from('ssh-ed25519'), Buffer.from(x, 'base64url')].flatMap((part) => {
    const length = Buffer.alloc(4)
    length.writeUInt32BE(part.length)
    return [length, part]
  })
  return `ssh-ed25519 ${Buffer.concat(parts).toString('base64')} ${comment}`.trimEnd()
}
