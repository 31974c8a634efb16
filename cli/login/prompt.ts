import { TunnelError } from '../../protocol/codec/errors.ts'

/** How a person goes on in a browser (RFC 8628, section 3.2). */
export interface Prompt {
  url: string
  code: string
}

interface Asked {
  readonly verification_uri: string
  readonly verification_uri_complete?: string
  readonly user_code: string
}

const MAX_URL = 2_048
/** What a person can type. What else an issuer puts there is a message to them, and not from us. */
const CODE = /^[\p{L}\p{N}][\p{L}\p{N} _-]{0,63}$/u

/**
 * What an issuer asks a person to do, as far as it can be meant so: an address to open in a browser, and a code. The address is
 * shown as a browser reads it, in ASCII, so that no character in it turns or hides others.
 * @throws {TunnelError} TOKEN_MISSING
 */
export function promptOf(asked: Asked): Prompt {
  const { verification_uri: plain, verification_uri_complete: complete, user_code: code } = asked
  const url = pageOf(complete ?? plain)
  if (url === undefined) throw unfit('the address that it wants you to open is not that of a web page')
  if (!CODE.test(code)) throw unfit('the code that it wants you to confirm is none that a person could type')
  return { url, code }
}

/** Without a user in front of the host, which may look like the host. */
function pageOf(address: string): string | undefined {
  if (address.length > MAX_URL || !URL.canParse(address)) return undefined
  const { protocol, username, password, href } = new URL(address)
  const isPage = (protocol === 'https:' || protocol === 'http:') && username === '' && password === ''
  return isPage ? href : undefined
}

function unfit(why: string): TunnelError {
  const message = `the issuer's answer is refused: ${why}`
  return new TunnelError('TOKEN_MISSING', message, {
    hop: 'client',
    suggestion: 'ask whoever runs the proxy',
  })
}
