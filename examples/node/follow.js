#!/usr/bin/env node
// Follows killfeed's stream of EVE Online killmails from Node, over restarts of either side, without losing one.
//
//   npm install --prefix examples/node
//   node examples/node/follow.js --filter 'value>=1b space:lowsec'
//
// Prints one line for each killmail. Where it got to is kept in a small file (--state), written after a killmail was handled:
// run it again and it continues there. The whole trick is in `follow`; `handle` is what you would replace.
'use strict'

const fs = require('node:fs')
const path = require('node:path')
const { parseArgs } = require('node:util')
const { setTimeout: sleep } = require('node:timers/promises')
const grpc = require('@grpc/grpc-js')
const loader = require('@grpc/proto-loader')

const PROTO = path.resolve(__dirname, '../../proto')
// 64-bit numbers come as text: JavaScript's own are exact up to 2^53 only.
const FORMAT = { longs: String, enums: String, defaults: true, oneofs: true, includeDirs: [PROTO] }
const v1 = grpc.loadPackageDefinition(loader.loadSync('killfeed/v1/killmail_service.proto', FORMAT)).killfeed.v1

const { values: options } = parseArgs({
  options: {
    target: { type: 'string', default: '127.0.0.1:50051' },
    filter: { type: 'string', default: '' },
    token: { type: 'string', default: process.env.KILLFEED_TOKEN ?? '' },
    ca: { type: 'string' }, // PEM file of the CA that signed the ingestor's certificate; turns TLS on
    state: { type: 'string', default: 'killfeed-state.json' },
    earliest: { type: 'boolean', default: false }, // without a cursor: begin at the oldest killmail kept
    count: { type: 'string', default: '0' } // end after this many killmails; 0 = never
  }
})

// Where we are, on disk: a cursor, the server's time at it, and the killmails handled last.
const KEPT = 20_000 // More than an ordinary day of killmails.
const saved = fs.existsSync(options.state) ? JSON.parse(fs.readFileSync(options.state, 'utf8')) : {}
const state = { cursor: saved.cursor ?? '', time: saved.time ?? 0, handled: new Set(saved.handled) }

function save () {
  while (state.handled.size > KEPT) state.handled.delete(state.handled.values().next().value)
  // Replaced in one step, so that a crash leaves the old state or the new one.
  fs.writeFileSync(`${options.state}.tmp`, JSON.stringify({ ...state, handled: [...state.handled] }), { flush: true })
  fs.renameSync(`${options.state}.tmp`, options.state)
}

// The name of an id in this killmail. An id is unique within its kind only.
function name (killmail, kind, id) {
  const found = killmail.entities.find(entity => entity.kind === `ENTITY_KIND_${kind}` && entity.id === String(id))
  return found?.name
}

// What this client does with a killmail.
function handle (killmail) {
  const { victim, location, value } = killmail
  const who = name(killmail, 'CHARACTER', victim.characterId) ?? name(killmail, 'CORPORATION', victim.corporationId) ?? 'somebody'
  const ship = name(killmail, 'TYPE', victim.shipTypeId) ?? `type ${victim.shipTypeId}`
  // `_total` is there only if the source gave a value.
  const worth = value?._total ? `${(value.total / 1e6).toFixed(1)}m ISK` : 'value unknown'
  console.log(`${ship} of ${who} in ${location.systemName}, ${worth}, ${killmail.attackers.length} attackers` +
    `  https://zkillboard.com/kill/${killmail.killmailId}/`)
}

const seconds = timestamp => Number(timestamp.seconds) + timestamp.nanos / 1e9

function request (since, onExpired) {
  const start = since !== undefined
    ? { since: { seconds: String(Math.floor(since)), nanos: 0 } }
    : state.cursor ? { afterCursor: state.cursor } : { position: options.earliest ? 'POSITION_EARLIEST' : 'POSITION_LATEST' }
  return { filter: options.filter, onExpired, clientName: 'example-node', ...start }
}

// One event after the other, for ever: the retry loop owns the cursor, a single attempt only moves it.
async function follow (client) {
  const metadata = new grpc.Metadata()
  if (options.token) metadata.set('authorization', `Bearer ${options.token}`)
  const count = Number(options.count)
  let failures = 0
  let handled = 0
  let since
  let onExpired = 'ON_EXPIRED_FAIL'
  while (true) {
    const stream = client.StreamKillmails(request(since, onExpired), metadata)
    try {
      for await (const event of stream) {
        failures = 0
        since = undefined
        onExpired = 'ON_EXPIRED_FAIL'
        if (event.event === 'killmail') {
          const key = `${event.killmail.killmailId}.${event.killmail.revision}`
          if (!state.handled.has(key)) {
            handle(event.killmail)
            handled += 1
          }
          state.handled.add(key)
          state.time = seconds(event.killmail.ingestedTime)
        } else if (event.event === 'gap') {
          console.error(`note: killmails may be missing here: ${event.gap.reason}, ${event.gap.missing} of them (0 = unknown)`)
        } else if (event.progress?.caughtUp) {
          state.time = seconds(event.progress.serverTime)
        }
        // Only now: what was handled is never lost, and what was not handled comes again.
        state.cursor = event.cursor
        save()
        if (count && handled >= count) return
      }
    } catch (error) {
      const { INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED, OUT_OF_RANGE, FAILED_PRECONDITION } = grpc.status
      if ([INVALID_ARGUMENT, UNAUTHENTICATED, PERMISSION_DENIED].includes(error.code)) throw error
      if (error.code === undefined) throw error // Not the stream's fault: a full disk, a bug in `handle`.
      if (error.code === OUT_OF_RANGE && onExpired === 'ON_EXPIRED_FAIL') {
        console.error('note: we were away for longer than the log goes back; continuing at its beginning')
        onExpired = 'ON_EXPIRED_CONTINUE'
        continue
      }
      if (error.code === FAILED_PRECONDITION) {
        console.error('note: this is another log than before; continuing ten minutes before the last event')
        since = state.time - 600
        onExpired = 'ON_EXPIRED_CONTINUE'
      }
      failures += 1
      const wait = Math.random() * Math.min(60, 0.5 * 2 ** Math.min(failures, 10))
      console.error(`note: ${error.message}; again in ${wait.toFixed(1)} s`)
      await sleep(wait * 1000)
    } finally {
      stream.cancel()
    }
  }
}

const credentials = options.ca
  ? grpc.credentials.createSsl(fs.readFileSync(options.ca))
  : grpc.credentials.createInsecure()
const client = new v1.KillmailService(options.target, credentials, {
  'grpc.keepalive_time_ms': 30_000,
  'grpc.keepalive_timeout_ms': 10_000,
  'grpc.max_receive_message_length': 16 << 20
})
follow(client)
  .catch(error => {
    console.error(`error: ${error.message}`)
    process.exitCode = 1
  })
  .finally(() => client.close())
