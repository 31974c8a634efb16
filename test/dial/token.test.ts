import assert from 'node:assert/strict'
import { test } from 'node:test'
import { askToken, expiryOf, refreshInMs } from '../../dial/token.ts'

const jwt = (claims: object) => `e30.${Buffer.from(JSON.stringify(claims)).toString('base64url')}.sig`

test('the expiry of a JWT is read without verifying, and its absence or nonsense is none', () => {
  assert.equal(expiryOf(jwt({ exp: 1_700_000_000, name: 'Zoë' })), 1_700_000_000_000)
  assert.equal(expiryOf(jwt({})), undefined)
  assert.equal(expiryOf('opaque'), undefined)
  assert.equal(expiryOf('a.%%%.c'), undefined)
})

test('a token is replaced after four fifths of what is left of its life', () => {
  assert.equal(refreshInMs(jwt({ exp: 1_000 }), 900_000), 80_000)
  assert.equal(refreshInMs(jwt({ exp: 1_000 }), 2_000_000), 0)
})

test('a provider that fails or gives nothing is a missing token, with its cause', async () => {
  const cause = new Error('no network')
  await assert.rejects(
    askToken(() => Promise.reject(cause)),
    { code: 'TOKEN_MISSING', cause },
  )
  await assert.rejects(askToken(''), { code: 'TOKEN_MISSING' })
  assert.equal(await askToken(async () => 't'), 't')
})

test('what cannot be a token is refused before it is sent anywhere', async () => {
  // As PowerShell's > leaves it, and a copy from a narrow window.
  const utf16 = Buffer.from('\ufeffe30.e30.sig\r\n', 'utf16le').toString('utf8').trim()
  for (const token of [utf16, 'e30.e\n30.sig', 'e30 .e30', 'ü'])
    await assert.rejects(
      askToken(() => token),
      { code: 'TOKEN_INVALID', hop: 'client' },
    )
})
