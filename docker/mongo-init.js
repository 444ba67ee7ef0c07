// Run once by the mongo image, in an empty volume: the platform's own user, of its own database and nothing else.
const password = require("fs").readFileSync("/run/secrets/mongodb", "utf8").trim();
db.getSiblingDB("ginkgo").createUser({ user: "ginkgo", pwd: password, roles: ["readWrite"] });
