// Plays the scenes of public-api.ts with a library that is named: `node play.mjs LIBRARY STAGE`.
import { pathToFileURL } from 'node:url'
import { SCENES } from './public-api.mjs'

const [, , library = '', stage = '{}'] = process.argv
const { TunnelService } = await import(pathToFileURL(library).href)
for (const [name, play] of Object.entries(SCENES)) {
  const failure = await play({ TunnelService, ...JSON.parse(stage) }).catch((error) => error)
  console.log(failure === undefined ? `ok ${name}` : `not ok ${name}: ${failure.stack}`)
}
